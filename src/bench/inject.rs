//! Injections a second: what a campaign takes, and what injections into each layer take alone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::median;
use crate::campaign::{Campaign, Experiment, MemoryImages, Strategy};
use crate::detector::Detector;
use crate::fault::Site;
use crate::models::{Model, Network};
use crate::number::Compute;
use crate::plan::{Labels, Plan};
use crate::progress::{Progress, Silent};
use crate::results::Record;
use crate::rng::{self, Draw};
use crate::tape::{Execution, PackedWeights, PassOptions, PlanKind, Undo};
use crate::{Error, Result};

/// How much is injected, where and how.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct InjectLoad {
    /// Images of the campaign.
    pub images: usize,
    /// Injections into each layer, all images together.
    pub per_layer: u64,
    /// What is hit in each layer.
    pub site: Site,
    /// Whole nodes for batches of so many images; by [`Campaign::best_strategy`] if absent.
    pub batch: Option<usize>,
    /// Campaigns whose median is taken.
    pub rounds: usize,
    /// Injections into each layer alone, or rounds of a batch of them; 0 leaves the layers out.
    pub alone: usize,
}

/// What injections into one layer take alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerInjections {
    pub layer: String,
    /// Mean of one injection: the fault, what it reaches, and by boxes the golden values again.
    pub mean_ms: f64,
    /// Mean of a round, where a batch of them shares one: the faults to the device, a replay of whole nodes,
    /// the logits back.
    pub round_ms: Option<f64>,
    /// Output elements that were computed, over those of a whole pass.
    pub share_percent: f64,
    /// How many left the logits as they were.
    pub masked_percent: f64,
}

/// What injections took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InjectTimes {
    pub device: String,
    pub compute: Compute,
    pub model: String,
    pub image_size: usize,
    pub threads: usize,
    pub load: InjectLoad,
    /// Images of a batch; absent where boxes of one image at a time are replayed.
    pub batch: Option<usize>,
    /// Of the campaign's rounds, how many of their images had an injection: images are drawn, so that a layer
    /// takes as many rounds of a batch as its most drawn image has injections.
    pub filled_percent: Option<f64>,
    /// Layers that are injected into.
    pub layers_hit: usize,
    /// Injections of one campaign.
    pub injections: usize,
    /// Median of a campaign: every image evaluated and run clean once, then every injection.
    pub seconds: f64,
    pub injections_per_s: f64,
    /// Of the campaign's injections, how many left the logits as they were.
    pub masked_percent: f64,
    /// [`crate::results::Run::results_sha256`] of the campaign: the same wherever bits are.
    pub records_sha256: String,
    /// A clean run with every value kept, the median: of one image on one core, or of a batch.
    pub clean_ms: f64,
    pub layers: Vec<LayerInjections>,
}

/// Times campaigns over a network called `name` and random images: single bits, uniform over what the site has
/// in each layer, no detector.
///
/// # Errors
/// A load of nothing, a site that no layer or not this device has; what running says; [`Error::Device`] where
/// two rounds gave different records.
pub fn inject_times(
    name: &str,
    network: &Network,
    load: InjectLoad,
    progress: &dyn Progress,
) -> Result<InjectTimes> {
    if load.images == 0 || load.rounds == 0 {
        return Err(Error::usage("injections are timed on at least one image, in one round"));
    }
    let (model, device) = (&network.model, network.device());
    let images = random_images(model, load.images);
    let list: Vec<usize> = (0..load.images).collect();
    let evaluate =
        |batch| Experiment::evaluate(network, &images, &list, Labels::Data, batch, &Silent);
    let plan = |per_layer| Plan {
        site: load.site,
        detectors: vec![Detector::None],
        ..Plan::new(1, per_layer)
    };
    let experiment = evaluate(8)?;
    let campaign = Campaign::new(&experiment, plan(load.per_layer))?;
    let strategy = match load.batch {
        Some(batch) => Strategy::Whole { batch },
        None => campaign.best_strategy(),
    };
    let evaluated = match strategy {
        Strategy::Boxes => 8,
        Strategy::Whole { batch } => batch,
    };
    if !device.host_memory() {
        // So that no round is the first that a GPU runs.
        Campaign::new(&experiment, plan(1))?.run(strategy, &Silent)?;
    }
    let mut seconds = Vec::with_capacity(load.rounds);
    let mut records_sha256: Option<String> = None;
    let (mut injections, mut masked, mut filled_percent) = (0, 0, None);
    progress.begin("bench", "rounds", 0, load.rounds as u64);
    for _ in 0..load.rounds {
        let start = Instant::now();
        let experiment = evaluate(evaluated)?;
        let campaign = Campaign::new(&experiment, plan(load.per_layer))?;
        let records = campaign.run(strategy, &Silent)?;
        seconds.push(start.elapsed().as_secs_f64());
        injections = records.len();
        let golden = |image: usize| experiment.goldens[image].hash;
        masked = records.iter().filter(|r| r.effect.hash == golden(r.image)).count();
        if let Strategy::Whole { batch } = strategy {
            filled_percent = Some(filled(&records, campaign.capacity(batch)));
        }
        let sha256 = campaign.results(records).results_sha256();
        if records_sha256.as_ref().is_some_and(|known| *known != sha256) {
            return Err(device.failed("two runs of one campaign gave different records"));
        }
        records_sha256 = Some(sha256);
        progress.advance(1, "");
    }
    progress.end();
    let seconds = median(&mut seconds);
    let (batch, (clean_ms, layers)) = match strategy {
        Strategy::Boxes => (None, by_boxes(&campaign, network, &images, load.alone)?),
        Strategy::Whole { batch } => {
            let batch = campaign.capacity(batch);
            (Some(batch), by_rounds(&campaign, network, &images, batch, load.alone)?)
        }
    };
    Ok(InjectTimes {
        device: device.kind().to_string(),
        compute: device.compute(),
        model: name.into(),
        image_size: model.image_size,
        threads: rayon::current_num_threads(),
        load,
        batch,
        filled_percent,
        layers_hit: campaign.layers().len(),
        injections,
        seconds,
        injections_per_s: injections as f64 / seconds,
        masked_percent: 100.0 * masked as f64 / injections.max(1) as f64,
        records_sha256: records_sha256.unwrap_or_default(),
        clean_ms,
        layers,
    })
}

fn random_images(model: &Model, count: usize) -> MemoryImages {
    let elements = model.image_elements();
    let mut draws = rng::stream(1, "benchmark");
    let pixels = (0..count * elements).map(|_| draws.between(-2.0, 2.0) as f32).collect();
    let labels = (0..count).map(|_| draws.below(model.classes as u64) as u32).collect();
    MemoryImages { pixels, labels }
}

/// How many places of the rounds that took these records held an injection, in percent; a round is of one
/// layer and of `batch` of the images that have any.
fn filled(records: &[Record], batch: usize) -> f64 {
    let images: BTreeSet<usize> = records.iter().map(|record| record.image).collect();
    let images: Vec<usize> = images.into_iter().collect();
    let mut of_image: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for record in records {
        *of_image.entry((record.layer, record.image)).or_default() += 1;
    }
    let mut places = 0;
    for batch in images.chunks(batch) {
        let mut rounds: BTreeMap<usize, usize> = BTreeMap::new();
        for ((layer, _), count) in of_image.iter().filter(|((_, image), _)| batch.contains(image)) {
            let most = rounds.entry(*layer).or_default();
            *most = (*most).max(*count);
        }
        places += batch.len() * rounds.values().sum::<usize>();
    }
    100.0 * records.len() as f64 / places.max(1) as f64
}

/// Output elements of each node that runs in a whole pass; 0 for the others.
fn elements(model: &Model) -> Vec<u64> {
    let needed = model.tape.needed_for(&[model.logits]);
    (model.tape.nodes().iter().zip(needed))
        .map(|(node, needed)| match needed && node.op.is_some() {
            true => node.spec.map.elements() as u64,
            false => 0,
        })
        .collect()
}

/// Milliseconds of a clean run: the median of some, after one that touches cold memory.
fn clean_ms(exec: &mut Execution, network: &Network, pixels: &[f32]) -> Result<f64> {
    network.forward(exec, pixels)?;
    let again = |_| network.device().elapsed_ms(|| exec.forward(&network.weights));
    let times: Result<Vec<f64>> = (0..3).map(again).collect();
    Ok(median(&mut times?))
}

/// A clean run of one image, and each layer's injections one by one, on this thread.
fn by_boxes(
    campaign: &Campaign<'_>,
    network: &Network,
    images: &MemoryImages,
    count: usize,
) -> Result<(f64, Vec<LayerInjections>)> {
    let Network { model, weights } = network;
    let outputs = [model.logits];
    let kind = if campaign.needs_every_value() { PlanKind::Golden } else { PlanKind::Replay };
    let mut exec = network.execution(kind, 1, &outputs)?;
    let last = model.tape.tail_input(&outputs).unwrap_or(model.logits);
    let packed = Some(Arc::new(PackedWeights::new(&model.tape, weights, last)));
    exec.options = PassOptions { parallel: false, keep_patches: true, packed };
    let clean_ms = clean_ms(&mut exec, network, &images.pixels[..model.image_elements()])?;
    let all: u64 = elements(model).iter().sum();
    let mut undo = Undo::default();
    let mut times = Vec::new();
    for (index, layer) in campaign.layers().iter().enumerate().filter(|_| count > 0) {
        let (mut seconds, mut computed, mut masked) = (0.0, 0, 0);
        for n in 0..count as u64 {
            let start = Instant::now();
            campaign.arm_round(&mut exec, index, [(0, n)].into_iter())?;
            let replay = exec.replay_image(weights, layer.node, 0, &outputs, &mut undo)?;
            exec.restore(&mut undo);
            exec.disarm();
            seconds += start.elapsed().as_secs_f64();
            computed += replay.elements;
            masked += usize::from(!replay.reached_output);
        }
        let count = count as f64;
        times.push(LayerInjections {
            layer: layer.name.clone(),
            mean_ms: 1e3 * seconds / count,
            round_ms: None,
            share_percent: 100.0 * computed as f64 / (count * all as f64),
            masked_percent: 100.0 * masked as f64 / count,
        });
    }
    Ok((clean_ms, times))
}

/// A clean run of a batch, and rounds of each layer, in which every image of the batch has an injection of
/// its own.
fn by_rounds(
    campaign: &Campaign<'_>,
    network: &Network,
    images: &MemoryImages,
    batch: usize,
    count: usize,
) -> Result<(f64, Vec<LayerInjections>)> {
    let Network { model, weights } = network;
    let mut exec = network.execution(PlanKind::Golden, batch, &[model.logits])?;
    exec.use_graphs(campaign.graphs);
    exec.options.keep_patches = true;
    let pixels = &images.pixels[..batch * model.image_elements()];
    let clean_ms = clean_ms(&mut exec, network, pixels)?;
    let golden = exec.read(model.logits)?;
    let bits = |logits: &[f32]| logits.iter().map(|z| z.to_bits()).collect::<Vec<u32>>();
    let elements = elements(model);
    let all: u64 = elements.iter().sum();
    let mut order: Vec<usize> = (0..campaign.layers().len()).filter(|_| count > 0).collect();
    // As a campaign does: a replay finds golden values before its layer.
    order.sort_by_key(|index| Reverse((campaign.layers()[*index].node, *index)));
    let mut times = Vec::new();
    for index in order {
        let layer = &campaign.layers()[index];
        let (mut seconds, mut masked, mut computed) = (0.0, 0, 0);
        // The first one captures, and isn't counted.
        for round in 0..=count {
            let first = (round * batch) as u64;
            let start = Instant::now();
            campaign.arm_round(&mut exec, index, (0..batch).zip(first..))?;
            exec.replay_from(weights, layer.node)?;
            let logits = exec.read(model.logits)?;
            let taken = start.elapsed().as_secs_f64();
            let runs = exec.dependents(layer.node);
            exec.disarm();
            if round > 0 {
                seconds += taken;
                computed =
                    runs.iter().zip(&elements).filter(|(runs, _)| **runs).map(|(_, n)| n).sum();
                let of_image = |values: &[f32]| -> Vec<Vec<u32>> {
                    values.chunks(model.classes).map(bits).collect()
                };
                let same = of_image(&logits).into_iter().zip(of_image(&golden));
                masked += same.filter(|(faulty, golden)| faulty == golden).count();
            }
        }
        let round_ms = 1e3 * seconds / count as f64;
        times.push(LayerInjections {
            layer: layer.name.clone(),
            mean_ms: round_ms / batch as f64,
            round_ms: Some(round_ms),
            share_percent: 100.0 * computed as f64 / all as f64,
            masked_percent: 100.0 * masked as f64 / (count * batch) as f64,
        });
    }
    times.reverse();
    Ok((clean_ms, times))
}
