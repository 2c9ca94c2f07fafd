//! Faults in a network of one's own: record it from operations, load its state dict, run a campaign.
//!
//!     cargo run --release --example own_model [-- WEIGHTS [OUT.sqlite]]
//!
//! WEIGHTS is a `.pth` or `.safetensors` file with the state dict of this network in PyTorch; without one,
//! random weights are written and read. OUT.sqlite keeps the campaign for `flipside export` and its like.

use std::path::Path;

use flipside::Result;
use flipside::campaign::{
    Campaign, Detector, Golden, Images, Labels, MemoryImages, Outcome, Plan, Provenance, Ranges,
    Run, golden, layers,
};
use flipside::checkpoint::Checkpoint;
use flipside::device::Device;
use flipside::models::{Model, load_state, save_state};
use flipside::nn::{Builder, Head, LastLayer};
use flipside::ops::{Start, activation::Activation, conv2d::Conv2d};
use flipside::progress::Silent;
use flipside::rng::{self, Draw};
use flipside::tape::{NodeId, Weights};
use flipside::tensor::Map;

/// Grey images of 28 × 28 pixels, and ten classes.
pub fn model() -> Result<Model> {
    Model::record(Head::Baseline, 10, Map::new(28, 28, 1), 0.0, backbone)
}

/// The modules `conv1`, `bn1`, `conv2`, `bn2` and, on the mean of each channel, `fc`.
fn backbone(b: &mut Builder<'_>, image: NodeId) -> Result<LastLayer> {
    let mut x = image;
    for (stage, channels) in [(1, 8), (2, 16)] {
        let conv = Conv2d::square(b.map(x).channels, channels, 3, 1, 1);
        x = b.conv(&format!("conv{stage}"), conv, x)?;
        x = b.batch_norm(&format!("bn{stage}"), x)?;
        x = b.activate(&format!("relu{stage}"), Activation::Relu, x)?;
        x = b.max_pool(&format!("pool{stage}"), [2, 2, 0], x)?;
    }
    let feature = b.adaptive_avg_pool("mean", 1, x)?;
    Ok(LastLayer { name: "fc".into(), bias: true, start: Start::PyTorch, feature })
}

/// Injects 200 faults into each layer of the network whose state dict is in `file`.
pub fn run(file: &Path) -> Result<Run> {
    let model = model()?;
    let mut weights = Weights::new(&model.tape, &Device::cpu(), false)?;
    load_state(&model, &mut weights, &Checkpoint::open(file)?)?;

    // Yours come from a data set: anything that is `Images` will do.
    let mut draws = rng::stream(1, "pictures");
    let pixels = (0..50 * 28 * 28).map(|_| draws.between(-1.0, 1.0) as f32).collect();
    let images = MemoryImages { pixels, labels: vec![0; 50] };
    let all: Vec<usize> = (0..images.len()).collect();

    // Without labels a faulty answer is held against the fault-free one.
    let goldens = golden::evaluate(&model, &weights, &images, &all, 50)?;
    let goldens: Vec<Golden> = goldens.into_iter().map(Golden::as_label).collect();
    let ranges = Ranges::measure(&model, &weights, &layers::layers(&model), &images, &all, 50)?;
    let plan = Plan { labels: Labels::Golden, ..Plan::new(1, 200) };
    let campaign = Campaign::new(&model, &weights, &images, &goldens, &ranges, plan)?;
    let records = campaign.run(campaign.best_strategy(), &Silent)?;
    let (model, checkpoint) = ("own_model".to_string(), weights.sha256()?);
    let provenance = Provenance { model, checkpoint, ..Provenance::default() };
    Ok(Run::new(&campaign, provenance, records))
}

/// Writes random weights as safetensors, under PyTorch's names.
pub fn write_weights(file: &Path) -> Result<()> {
    let model = model()?;
    let mut weights = Weights::new(&model.tape, &Device::cpu(), false)?;
    weights.initialize(1)?;
    save_state(file, &model, "own_model", &weights)
}

#[allow(dead_code)] // The tests run the functions above.
fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let run = match arguments.next() {
        Some(file) => run(Path::new(&file))?,
        None => {
            let folder = tempfile::tempdir()?;
            let file = folder.path().join("weights.safetensors");
            write_weights(&file)?;
            run(&file)?
        }
    };
    for (index, layer) in run.manifest.layers.iter().enumerate() {
        let records = || run.of(index, Detector::None);
        let percent = |outcome: Outcome| {
            let count = records().filter(|record| record.effect.outcome == outcome).count();
            format!("{} {:5.1} %", outcome.name(), 100.0 * count as f64 / records().count() as f64)
        };
        println!("{:8} {}", layer.name, Outcome::ALL.map(percent).join("   "));
    }
    if let Some(out) = arguments.next() {
        run.save(Path::new(&out))?;
    }
    Ok(())
}
