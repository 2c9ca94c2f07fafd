//! Faults in a network of one's own: record it from operations, load its state dict, run a campaign.
//!
//!     cargo run --release --example own_model [-- WEIGHTS]
//!
//! WEIGHTS is a `.pth` or `.safetensors` file with the state dict of this network in PyTorch; without one,
//! random weights are written and read.

use std::path::Path;

use flipside::analysis::Intervals;
use flipside::analysis::breakdown::{By, breakdown};
use flipside::campaign::{Campaign, Experiment, Images, MemoryImages, layers};
use flipside::checkpoint::Checkpoint;
use flipside::device::Device;
use flipside::models::{Model, Network, save_state};
use flipside::nn::{Builder, Head, LastLayer};
use flipside::ops::Start;
use flipside::ops::activation::Activation;
use flipside::ops::conv2d::Conv2d;
use flipside::plan::{Labels, Plan};
use flipside::progress::Silent;
use flipside::results::Run;
use flipside::rng::{self, Draw};
use flipside::tape::NodeId;
use flipside::tensor::Map;
use flipside::{Result, report};

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

/// The network for grey images of 28 × 28 pixels and ten classes.
fn model() -> Result<Model> {
    Model::record(Head::Baseline, 10, Map::new(28, 28, 1), 0.0, backbone)
}

/// Injects 200 faults into each layer of the network whose state dict is in `file`.
pub fn run(file: &Path) -> Result<Run> {
    let network = Network::load(model()?, &Checkpoint::open(file)?, &Device::cpu())?;

    // Yours come from a data set: anything that is `Images` will do. Without labels, a faulty answer is
    // held against the fault-free one.
    let mut draws = rng::stream(1, "pictures");
    let pixels = (0..50 * 28 * 28).map(|_| draws.between(-1.0, 1.0) as f32).collect();
    let images = MemoryImages { pixels, labels: vec![0; 50] };
    let all: Vec<usize> = (0..images.len()).collect();
    let labels = Labels::Golden;
    let mut experiment = Experiment::evaluate(&network, &images, &all, labels, 50, &Silent)?;
    experiment.measure_ranges(&layers::layers(&network.model), &images, &all, &Silent)?;
    experiment.provenance.model = "own_model".into();
    experiment.provenance.checkpoint = network.weights.sha256()?;

    let plan = Plan { labels, ..Plan::new(1, 200) };
    let campaign = Campaign::new(&experiment, plan)?;
    let records = campaign.run(campaign.best_strategy(), &Silent)?;
    Ok(campaign.results(records))
}

/// Writes random weights as safetensors, under PyTorch's names.
pub fn write_weights(file: &Path) -> Result<()> {
    let network = Network::random(model()?, 1, &Device::cpu())?;
    save_state(file, &network.model, "own_model", &network.weights)
}

#[allow(dead_code)] // The tests run the functions above.
fn main() -> anyhow::Result<()> {
    flipside::commit::set(flipside::commit::checked_out!()); // What is saved names it.
    let folder = tempfile::tempdir()?;
    let random = folder.path().join("own_model.safetensors");
    write_weights(&random)?;
    let run = run(&std::env::args_os().nth(1).map_or(random, Into::into))?; // `Run::save` keeps it for `flipside report`, `export`, …
    let how = Intervals::default();
    let figures = breakdown(&run, By::Layer, None, &run.manifest.plan.detectors, &how)?;
    print!("{}", report::run_text(&run, &figures, &how, report::View::Text));
    Ok(())
}
