//! Injections a second: what a campaign on the CPU takes, and what an injection into each layer takes alone.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::median;
use crate::campaign::{Campaign, Detector, MemoryImages, Plan, Ranges, golden, layers};
use crate::fault::{BitMasks, FaultEntry, FaultTable};
use crate::models::Model;
use crate::progress::{Progress, Silent};
use crate::rng::{self, Draw};
use crate::tape::{Execution, PackedWeights, PlanKind, Undo, Weights};
use crate::{Error, Result};

/// How much is injected.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct InjectLoad {
    /// Images of the campaign.
    pub images: usize,
    /// Injections into each layer, all images together.
    pub per_layer: u64,
    /// Campaigns whose median is taken.
    pub rounds: usize,
    /// Injections into each layer, alone; 0 leaves the layers out.
    pub alone: usize,
}

/// What injections into one layer take, on one core.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerInjections {
    pub layer: String,
    /// Mean of one injection: the fault, what it reaches, and the golden values again.
    pub mean_ms: f64,
    /// Output elements that were computed, over those of a whole pass.
    pub share_percent: f64,
    /// How many left the logits as they were.
    pub masked_percent: f64,
}

/// What injections took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InjectTimes {
    pub device: String,
    pub model: String,
    pub image_size: usize,
    pub threads: usize,
    pub load: InjectLoad,
    /// Injections of one campaign.
    pub injections: usize,
    /// Median of a campaign: every image evaluated and run clean once, then every injection.
    pub seconds: f64,
    pub injections_per_s: f64,
    /// Of the campaign's injections, how many left the logits as they were.
    pub masked_percent: f64,
    /// One image's clean run with every value kept, on one core: the median.
    pub clean_ms: f64,
    pub layers: Vec<LayerInjections>,
}

/// Times campaigns over `model` with random weights and images: single bits of single outputs, uniform
/// over the layers' neurons, no detector.
///
/// # Errors
/// A load of nothing, a device other than the CPU; what running says.
pub fn inject_times(
    (name, model): (&str, &Model),
    weights: &Weights,
    load: InjectLoad,
    progress: &dyn Progress,
) -> Result<InjectTimes> {
    if !weights.device().is_cpu() {
        return Err(Error::Unsupported {
            op: "timing injections".into(),
            device: weights.device().kind().to_string(),
        });
    }
    if load.images == 0 || load.rounds == 0 {
        return Err(Error::usage("injections are timed on at least one image, in one round"));
    }
    let images = random_images(model, load.images);
    let plan = Plan { detectors: vec![Detector::None], ..Plan::new(1, load.per_layer) };
    let list: Vec<usize> = (0..load.images).collect();
    let mut seconds = Vec::with_capacity(load.rounds);
    let (mut injections, mut masked) = (0, 0);
    progress.begin("bench", "rounds", 0, load.rounds as u64);
    for _ in 0..load.rounds {
        let start = Instant::now();
        let goldens = golden::evaluate(model, weights, &images, &list, 8)?;
        let ranges = Ranges::default();
        let campaign = Campaign::new(model, weights, &images, &goldens, &ranges, plan.clone())?;
        let records = campaign.run(campaign.best_strategy(), &Silent)?;
        seconds.push(start.elapsed().as_secs_f64());
        injections = records.len();
        masked = records.iter().filter(|r| r.effect.hash == goldens[r.image].hash).count();
        progress.advance(1, "");
    }
    progress.end();
    let seconds = median(&mut seconds);
    let (clean_ms, layers) = alone(model, weights, &images, load.alone)?;
    Ok(InjectTimes {
        device: weights.device().kind().to_string(),
        model: name.into(),
        image_size: model.image_size,
        threads: rayon::current_num_threads(),
        load,
        injections,
        seconds,
        injections_per_s: injections as f64 / seconds,
        masked_percent: 100.0 * masked as f64 / injections.max(1) as f64,
        clean_ms,
        layers,
    })
}

fn random_images(model: &Model, count: usize) -> MemoryImages {
    let elements = model.tape.node(model.image).spec.map.elements();
    let mut draws = rng::stream(1, "benchmark");
    let pixels = (0..count * elements).map(|_| draws.between(-2.0, 2.0) as f32).collect();
    let labels = (0..count).map(|_| draws.below(model.classes as u64) as u32).collect();
    MemoryImages { pixels, labels }
}

/// A clean run's milliseconds, and each layer's injections one by one, on this thread.
fn alone(
    model: &Model,
    weights: &Weights,
    images: &MemoryImages,
    count: usize,
) -> Result<(f64, Vec<LayerInjections>)> {
    let outputs = [model.logits];
    let mut exec = Execution::new(&model.tape, weights.device(), PlanKind::Replay, 1, &outputs)?;
    exec.parallel = false;
    let last = model.tape.tail_input(&outputs).unwrap_or(model.logits);
    exec.packed = Some(Arc::new(PackedWeights::new(&model.tape, weights, last)));
    exec.begin(1)?;
    let elements = model.tape.node(model.image).spec.map.elements();
    exec.write(model.image, &images.pixels[..elements])?;
    let mut clean = Vec::new();
    for _ in 0..4 {
        let start = Instant::now();
        exec.forward(weights)?;
        clean.push(1e3 * start.elapsed().as_secs_f64());
    }
    // The first one touches cold memory.
    let clean_ms = median(&mut clean[1..]);
    let mut undo = Undo::default();
    let mut times = Vec::new();
    let needed = model.tape.needed_for(&outputs);
    let all: usize = (model.tape.nodes().iter().zip(needed))
        .filter(|(node, needed)| *needed && node.op.as_ref().is_some_and(|op| !op.is_view()))
        .map(|(node, _)| node.spec.map.elements())
        .sum();
    for layer in layers::layers(model) {
        if count == 0 {
            break;
        }
        let mut draws = rng::stream(2, &layer.pair_key);
        let (mut seconds, mut computed, mut masked) = (0.0, 0, 0);
        for _ in 0..count {
            let at = draws.below(layer.neurons()) as usize;
            let entry = FaultEntry::output(at, BitMasks::flip(1 << draws.below(32)), 0);
            let table = FaultTable::new(&layer.name, 1, layer.map, &[(0, entry)])?;
            let start = Instant::now();
            exec.arm(layer.node, table)?;
            let replay = exec.replay_image(weights, layer.node, 0, &outputs, &mut undo)?;
            exec.restore(&mut undo);
            exec.disarm();
            seconds += start.elapsed().as_secs_f64();
            computed += replay.elements;
            masked += usize::from(!replay.reached_output);
        }
        let count = count as f64;
        times.push(LayerInjections {
            layer: layer.name,
            mean_ms: 1e3 * seconds / count,
            share_percent: 100.0 * computed as f64 / (count * all as f64),
            masked_percent: 100.0 * masked as f64 / count,
        });
    }
    Ok((clean_ms, times))
}
