//! Faults in a network of one's own: record it from operations, load its state dict, run a campaign.
//!
//!     cargo run --release --example own_model [-- WEIGHTS]
//!
//! WEIGHTS is a `.pth` or `.safetensors` file with the state dict of this network in PyTorch; without one,
//! random weights are written and read.

use std::path::Path;

use flipside::campaign::breakdown::{By, breakdown};
use flipside::campaign::statistics::Intervals;
use flipside::campaign::{
    Campaign, Images, Labels, MemoryImages, Plan, Provenance, Ranges, Run, golden, layers,
};
use flipside::checkpoint::Checkpoint;
use flipside::models::{Model, load_state, save_state};
use flipside::nn::{Builder, Head, LastLayer};
use flipside::ops::{Start, activation::Activation, conv2d::Conv2d};
use flipside::rng::{self, Draw};
use flipside::tape::{NodeId, Weights};
use flipside::{Result, device::Device, progress::Silent, report, tensor::Map};

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

/// The network for grey images of 28 × 28 pixels and ten classes, with memory for its weights.
fn network() -> Result<(Model, Weights)> {
    let model = Model::record(Head::Baseline, 10, Map::new(28, 28, 1), 0.0, backbone)?;
    let weights = Weights::new(&model.tape, &Device::cpu(), false)?;
    Ok((model, weights))
}

/// Injects 200 faults into each layer of the network whose state dict is in `file`.
pub fn run(file: &Path) -> Result<Run> {
    let (model, mut weights) = network()?;
    load_state(&model, &mut weights, &Checkpoint::open(file)?)?;

    // Yours come from a data set: anything that is `Images` will do. Without labels, a faulty answer is
    // held against the fault-free one.
    let mut draws = rng::stream(1, "pictures");
    let pixels = (0..50 * 28 * 28).map(|_| draws.between(-1.0, 1.0) as f32).collect();
    let images = MemoryImages { pixels, labels: vec![0; 50] };
    let all: Vec<usize> = (0..images.len()).collect();
    let goldens = golden::evaluate_unlabeled(&model, &weights, &images, &all, 50)?;

    let ranges = Ranges::measure(&model, &weights, &layers::layers(&model), &images, &all, 50)?;
    let plan = Plan { labels: Labels::Golden, ..Plan::new(1, 200) };
    let campaign = Campaign::new(&model, &weights, &images, &goldens, &ranges, plan)?;
    let records = campaign.run(campaign.best_strategy(), &Silent)?;
    let (model, checkpoint) = ("own_model".to_string(), weights.sha256()?);
    Ok(Run::new(&campaign, Provenance { model, checkpoint, ..Provenance::default() }, records))
}

/// Writes random weights as safetensors, under PyTorch's names.
pub fn write_weights(file: &Path) -> Result<()> {
    let (model, mut weights) = network()?;
    weights.initialize(1)?;
    save_state(file, &model, "own_model", &weights)
}

#[allow(dead_code)] // The tests run the functions above.
fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let random = folder.path().join("own_model.safetensors");
    write_weights(&random)?;
    let run = run(&std::env::args_os().nth(1).map_or(random, Into::into))?; // `Run::save` keeps it for `flipside report`, `export`, …
    let how = Intervals::new(1);
    let figures = breakdown(&run, By::Layer, None, &run.manifest.plan.detectors, &how)?;
    print!("{}", report::run_text(&run, &figures, &how, report::View::Text));
    Ok(())
}
