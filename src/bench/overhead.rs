//! The overhead of fault-capable kernels, without and with a fault: whole forward passes and single layers, clean
//! and armed, in turns within one run.

use std::sync::Arc;

use serde::Serialize;

use super::attempts::Attempts;
use super::run::OpRun;
use super::{Effort, OpShape, median};
use crate::device::Device;
use crate::fault::{FaultEntry, FaultTable, Site, SiteClass, SiteSpace};
use crate::models::Model;
use crate::number::{BitMasks, Compute, Format};
use crate::ops::{Op, Sites};
use crate::progress::Progress;
use crate::rng::{self, Draw};
use crate::tape::{Execution, NodeId, PlanKind, Weights, format_at};
use crate::tensor::Spec;
use crate::{Error, Result};

/// A way to run the whole network, against the clean one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PassCost {
    pub what: &'static str,
    pub median_ms: f64,
    pub best_ms: f64,
    /// Images of a batch over the median.
    pub images_per_s: f64,
    /// The median over the rounds of this time over the clean one of the same round.
    pub ratio: f64,
}

/// One layer alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerCost {
    pub layer: String,
    pub shape: String,
    pub site: &'static str,
    /// Why there are no times.
    pub error: Option<String>,
    #[serde(flatten)]
    pub times: Option<LayerTimes>,
}

/// What a layer takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerTimes {
    pub clean_ms: f64,
    /// Its armed kernel without faults (the epilogue's: the one for inner sites is launched only where
    /// there is such a fault), and with one in each image.
    pub armed_ms: f64,
    pub faulty_ms: f64,
    /// As [`PassCost::ratio`].
    pub armed_ratio: f64,
    pub faulty_ratio: f64,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overhead {
    pub device: String,
    pub compute: Compute,
    pub model: String,
    pub image_size: usize,
    /// Images of a batch.
    pub batch: usize,
    pub rounds: usize,
    /// Why there are no whole passes.
    pub error: Option<String>,
    pub passes: Vec<PassCost>,
    pub layers: Vec<LayerCost>,
}

impl Overhead {
    /// How many parts, whole passes being one, have an error instead of times; and how many there are.
    pub fn failed(&self) -> (usize, usize) {
        let layers = self.layers.iter().filter(|layer| layer.error.is_some()).count();
        (layers + usize::from(self.error.is_some()), 1 + self.layers.len())
    }
}

/// How a run is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arming {
    Clean,
    WithoutFaults,
    OneAnImage,
}

const ARMINGS: [Arming; 3] = [Arming::Clean, Arming::WithoutFaults, Arming::OneAnImage];

impl Arming {
    const fn words(self) -> &'static str {
        match self {
            Arming::Clean => "clean",
            Arming::WithoutFaults => "every layer armed, no faults",
            Arming::OneAnImage => "every layer armed, one fault an image",
        }
    }

    /// The table of a layer for a site with `space`; none where it stays clean.
    fn table(
        self,
        layer: &FaultableLayer<'_>,
        place: LayerSite,
        images: usize,
    ) -> Result<Option<FaultTable>> {
        if self == Arming::Clean {
            return Ok(None);
        }
        let LayerSite { site, space, format } = place;
        let mut draws = rng::stream(5, layer.name);
        let mut faults = Vec::new();
        for image in (0..images).filter(|_| self == Arming::OneAnImage) {
            // The lowest bit: whatever comes behind computes with ordinary numbers.
            let masks = BitMasks::flip(1 << format.shift());
            let element = draws.below(space.elements);
            let [first, end] = space.k.map(u64::from);
            let k = first + draws.below(end.saturating_sub(first).max(1));
            let entry = FaultEntry::at(site, element, k as u32, masks);
            faults.push((image, entry));
        }
        FaultTable::of_sites(layer.name, images, |site| layer.sites.space(site), &faults).map(Some)
    }
}

/// A layer with fault sites.
struct FaultableLayer<'a> {
    node: NodeId,
    name: &'a str,
    op: &'a Arc<dyn Op>,
    inputs: Vec<Spec>,
    sites: Sites,
    output: Spec,
}

/// A site of a layer.
#[derive(Clone, Copy)]
struct LayerSite {
    site: Site,
    space: SiteSpace,
    /// Of the number that is hit.
    format: Format,
}

impl<'a> FaultableLayer<'a> {
    /// `None` for an input of the tape.
    fn of(model: &'a Model, node: NodeId) -> Option<FaultableLayer<'a>> {
        let recorded = model.tape.node(node);
        let (name, op) = (recorded.name.as_str(), recorded.op.as_ref()?);
        let inputs = model.tape.input_specs(node);
        let sites = op.sites(&inputs);
        Some(FaultableLayer { node, name, op, inputs, sites, output: recorded.spec })
    }

    /// Its sites within the launch that computes it, as far as `device` has them.
    fn places(&self, device: &Device) -> Vec<LayerSite> {
        let variant = self.op.variant(&self.inputs, device.compute());
        let has = |site: &Site| match site.class() {
            SiteClass::Memory => false,
            SiteClass::Inner => !device.is_cpu() && (variant.is_some() || !site.has_term()),
            _ => true,
        };
        let place = |site: Site| {
            let space = self.sites.space(site)?;
            let format = format_at(self.op.as_ref(), &self.inputs, site, device.compute());
            Some(LayerSite { site, space, format })
        };
        Site::ALL.into_iter().filter(has).filter_map(place).collect()
    }
}

/// Runs of one part of the whole.
fn runs_of(effort: Effort) -> u64 {
    ((1 + effort.rounds) * ARMINGS.len()) as u64
}

/// Hears of the runs of one part.
struct Told<'a> {
    progress: &'a dyn Progress,
    name: &'a str,
    left: u64,
}

impl Told<'_> {
    fn advance(&mut self, runs: u64) {
        self.left -= runs;
        self.progress.advance(runs, self.name);
    }
}

impl Drop for Told<'_> {
    /// What failed has no more runs to come.
    fn drop(&mut self) {
        self.advance(self.left);
    }
}

/// Times of alternating runs, by arming.
fn alternate(
    rounds: usize,
    told: &mut Told<'_>,
    mut run: impl FnMut(usize) -> Result<f64>,
) -> Result<[Vec<f64>; ARMINGS.len()]> {
    let mut times: [Vec<f64>; ARMINGS.len()] = Default::default();
    for round in 0..=rounds {
        for (which, times) in times.iter_mut().enumerate() {
            let time = run(which)?;
            told.advance(1);
            // The first one captures, and touches cold memory.
            if round > 0 {
                times.push(time);
            }
        }
    }
    Ok(times)
}

/// The median of the rounds' ratios to the clean run.
fn ratio(times: &[f64], clean: &[f64]) -> f64 {
    let mut ratios: Vec<f64> =
        times.iter().zip(clean).map(|(time, clean)| time / clean.max(1e-9)).collect();
    median(&mut ratios)
}

/// Times `model` with random weights and images, whole, and the layers called `layers` alone at each of
/// their sites within a launch (if none are named: the first, the one with the most
/// multiply-accumulates, the last, and the first attention). What fails has a row that says so.
///
/// # Errors
/// A layer that the model doesn't have.
pub fn overhead(
    (name, model): (&str, &Model),
    device: &Device,
    batch: usize,
    layers: &[String],
    effort: Effort,
    progress: &dyn Progress,
) -> Result<Overhead> {
    let chosen = choose(model, layers)?;
    let parts: Vec<(&FaultableLayer<'_>, LayerSite)> = chosen
        .iter()
        .flat_map(|layer| layer.places(device).into_iter().map(move |place| (layer, place)))
        .collect();
    let runs = runs_of(effort);
    let told = |name| Told { progress, name, left: runs };
    progress.begin("bench", "runs", 0, runs * (1 + parts.len() as u64));
    let mut attempts = Attempts::new(device);
    let (passes, error) =
        match attempts.row(|| passes(model, device, batch, effort, told("whole passes"))) {
            Ok(passes) => (passes, None),
            Err(error) => (Vec::new(), Some(error)),
        };
    let mut costs = Vec::new();
    for (layer, place) in parts {
        let shape = OpShape::of(layer.op.clone(), layer.inputs.clone(), layer.output);
        let times = attempts
            .row(|| layer_times(layer, &shape, place, device, batch, effort, told(layer.name)));
        let (times, error) = match times {
            Ok(times) => (Some(times), None),
            Err(error) => (None, Some(error)),
        };
        let (name, site) = (layer.name.into(), place.site.name());
        costs.push(LayerCost { layer: name, shape: shape.name, site, error, times });
    }
    progress.end();
    Ok(Overhead {
        device: device.kind().to_string(),
        compute: device.compute(),
        model: name.into(),
        image_size: model.image_size,
        batch,
        rounds: effort.rounds,
        error,
        passes,
        layers: costs,
    })
}

fn choose<'a>(model: &'a Model, names: &[String]) -> Result<Vec<FaultableLayer<'a>>> {
    let mut nodes = Vec::new();
    for name in names {
        nodes.push(model.tape.find(name)?);
    }
    if names.is_empty() {
        let layers = model.tape.injectable();
        let most = layers.iter().max_by_key(|layer| layer.macs);
        nodes.extend([layers.first(), most, layers.last()].into_iter().flatten().map(|l| l.node));
        // The first layer with sites that those don't have: an attention.
        let all = (0..model.tape.nodes().len()).map(NodeId);
        nodes.extend(
            all.into_iter().find(|node| matches!(model.tape.sites(*node), Sites::Scores { .. })),
        );
        nodes.sort_unstable();
        nodes.dedup();
    }
    nodes
        .into_iter()
        .map(|node| {
            let layer = FaultableLayer::of(model, node);
            layer.filter(|layer| layer.sites != Sites::None).ok_or_else(|| {
                let name = &model.tape.node(node).name;
                Error::usage(format!("'{name}' has no fault sites"))
            })
        })
        .collect()
}

fn passes(
    model: &Model,
    device: &Device,
    batch: usize,
    effort: Effort,
    mut told: Told<'_>,
) -> Result<Vec<PassCost>> {
    let mut weights = Weights::new(&model.tape, device, false)?;
    weights.initialize(1)?;
    let elements = model.image_elements();
    let mut draws = rng::stream(1, "benchmark");
    let of_one: Vec<f32> = (0..elements).map(|_| draws.between(-2.0, 2.0) as f32).collect();
    let pixels = of_one.repeat(batch);
    let mut executions = Vec::with_capacity(ARMINGS.len());
    for arming in ARMINGS {
        let outputs = [model.logits];
        let mut exec = Execution::new(&model.tape, device, PlanKind::Infer, batch, &outputs)?;
        exec.use_graphs(true);
        exec.begin(batch)?;
        exec.write(model.image, &pixels)?;
        for layer in model.tape.injectable() {
            let Some(layer) = FaultableLayer::of(model, layer.node) else { continue };
            let places = layer.places(device);
            let Some(place) = places.iter().find(|place| place.site == Site::Output) else {
                continue;
            };
            if let Some(table) = arming.table(&layer, *place, layer.output.maps(batch))? {
                exec.arm(layer.node, table)?;
            }
        }
        executions.push(exec);
    }
    let times = alternate(effort.rounds, &mut told, |which| {
        device.elapsed_ms(|| executions[which].forward(&weights))
    })?;
    let clean = times[0].clone();
    Ok(ARMINGS
        .into_iter()
        .zip(times)
        .map(|(arming, mut times)| {
            let ratio = ratio(&times, &clean);
            let median_ms = median(&mut times);
            let best_ms = times.first().copied().unwrap_or(0.0);
            let images_per_s = 1e3 * batch as f64 / median_ms.max(1e-9);
            PassCost { what: arming.words(), median_ms, best_ms, images_per_s, ratio }
        })
        .collect())
}

fn layer_times(
    layer: &FaultableLayer<'_>,
    shape: &OpShape,
    place: LayerSite,
    device: &Device,
    batch: usize,
    effort: Effort,
    mut told: Told<'_>,
) -> Result<LayerTimes> {
    let case = shape.case(batch);
    let mut runs = Vec::with_capacity(ARMINGS.len());
    for arming in ARMINGS {
        let mut run = OpRun::new(&case, device, false)?;
        run.arm(arming.table(layer, place, layer.output.maps(batch))?)?;
        runs.push(run.repeated(device, effort)?);
    }
    let times = alternate(effort.rounds, &mut told, |which| runs[which].elapsed_ms(device))?;
    let ratios = [ratio(&times[1], &times[0]), ratio(&times[2], &times[0])];
    let [clean_ms, armed_ms, faulty_ms] = times.map(|mut times| median(&mut times));
    let [armed_ratio, faulty_ratio] = ratios;
    Ok(LayerTimes { clean_ms, armed_ms, faulty_ms, armed_ratio, faulty_ratio })
}
