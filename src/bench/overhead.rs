//! What it costs to stand ready for faults: whole forward passes and single layers, clean and armed, in
//! turns within one run.

use serde::Serialize;

use super::run::OpRun;
use super::{Effort, Shape, median};
use crate::device::Device;
use crate::fault::{BitMasks, FaultEntry, FaultTable, Site};
use crate::models::Model;
use crate::progress::Progress;
use crate::rng::{self, Draw};
use crate::tape::{Execution, Injectable, PlanKind, Weights};
use crate::tensor::Map;
use crate::{Error, Result};

/// A way to run the whole network, against the clean one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PassCost {
    pub what: &'static str,
    pub median_ms: f64,
    pub best_ms: f64,
    /// The median over the rounds of this time over the clean one of the same round.
    pub ratio: f64,
}

/// One layer alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerCost {
    pub layer: String,
    pub shape: String,
    pub site: &'static str,
    pub clean_ms: f64,
    /// Its armed kernel without faults, and with one in each image.
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
    pub model: String,
    pub image_size: usize,
    /// Images of a batch.
    pub batch: usize,
    pub rounds: usize,
    pub passes: Vec<PassCost>,
    pub layers: Vec<LayerCost>,
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

    /// The table of a layer whose output is `map`; none where it stays clean.
    fn table(self, layer: &str, site: Site, images: usize, map: Map) -> Result<Option<FaultTable>> {
        if self == Arming::Clean {
            return Ok(None);
        }
        let mut draws = rng::stream(5, layer);
        let mut faults = Vec::new();
        for image in (0..images).filter(|_| self == Arming::OneAnImage) {
            // The lowest bit: whatever comes behind computes with ordinary numbers.
            let masks = BitMasks::flip(1);
            let element = draws.below(map.elements() as u64) as usize;
            let entry = FaultEntry { site: site.code(), ..FaultEntry::output(element, masks, 0) };
            faults.push((image, entry));
        }
        FaultTable::new(layer, images, map, &faults).map(Some)
    }
}

/// Times of alternating runs, by arming.
fn alternate(
    rounds: usize,
    mut run: impl FnMut(usize) -> Result<f64>,
) -> Result<[Vec<f64>; ARMINGS.len()]> {
    let mut times: [Vec<f64>; ARMINGS.len()] = Default::default();
    for round in 0..=rounds {
        for (which, times) in times.iter_mut().enumerate() {
            let time = run(which)?;
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

/// Times `model` with random weights and images, whole, and the layers called `layers` alone (the first,
/// the one with the most multiply-accumulates and the last if none are named).
///
/// # Errors
/// Those of the device; a layer that the model doesn't have.
pub fn overhead(
    (name, model): (&str, &Model),
    device: &Device,
    batch: usize,
    layers: &[String],
    effort: Effort,
    progress: &dyn Progress,
) -> Result<Overhead> {
    let injectable = model.tape.injectable();
    let chosen = choose(model, &injectable, layers)?;
    progress.begin("bench", "parts", 0, 1 + chosen.len() as u64);
    let passes = passes(model, device, batch, effort)?;
    progress.advance(1, "whole passes");
    let mut costs = Vec::new();
    for layer in chosen {
        costs.push(layer_cost(model, layer, Site::Output, device, batch, effort)?);
        progress.advance(1, &layer.name);
    }
    progress.end();
    Ok(Overhead {
        device: device.kind().to_string(),
        model: name.into(),
        image_size: model.image_size,
        batch,
        rounds: effort.rounds,
        passes,
        layers: costs,
    })
}

fn choose<'a>(
    model: &Model,
    injectable: &'a [Injectable],
    names: &[String],
) -> Result<Vec<&'a Injectable>> {
    if names.is_empty() {
        let most = injectable.iter().max_by_key(|layer| layer.macs);
        let mut chosen: Vec<&Injectable> =
            [injectable.first(), most, injectable.last()].into_iter().flatten().collect();
        chosen.dedup_by_key(|layer| layer.node);
        return Ok(chosen);
    }
    let mut chosen = Vec::new();
    for name in names {
        let node = model.tape.find(name)?;
        let layer = injectable.iter().find(|layer| layer.node == node);
        chosen.push(
            layer.ok_or_else(|| {
                Error::usage(format!("'{name}' is no convolution or linear layer"))
            })?,
        );
    }
    Ok(chosen)
}

fn passes(model: &Model, device: &Device, batch: usize, effort: Effort) -> Result<Vec<PassCost>> {
    let mut weights = Weights::new(&model.tape, device, false)?;
    weights.initialize(1)?;
    let elements = model.tape.node(model.image).spec.map.elements();
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
            let spec = model.tape.node(layer.node).spec;
            let images = spec.maps(batch);
            if let Some(table) = arming.table(&layer.name, Site::Output, images, spec.map)? {
                exec.arm(layer.node, table)?;
            }
        }
        executions.push(exec);
    }
    let times = alternate(effort.rounds, |which| {
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
            PassCost { what: arming.words(), median_ms, best_ms, ratio }
        })
        .collect())
}

fn layer_cost(
    model: &Model,
    layer: &Injectable,
    site: Site,
    device: &Device,
    batch: usize,
    effort: Effort,
) -> Result<LayerCost> {
    let node = model.tape.node(layer.node);
    let inputs = model.tape.input_specs(layer.node);
    let Some(op) = node.op.clone() else {
        return Err(Error::usage(format!("'{}' is an input", layer.name)));
    };
    let shape = Shape::of(op, inputs, node.spec);
    let case = shape.case(batch);
    let mut runs = Vec::with_capacity(ARMINGS.len());
    for arming in ARMINGS {
        let mut run = OpRun::new(&case, device, false)?;
        run.arm(arming.table(&layer.name, site, node.spec.maps(batch), node.spec.map)?)?;
        runs.push(run.repeated(device, effort)?);
    }
    let times = alternate(effort.rounds, |which| runs[which].elapsed_ms(device))?;
    let ratios = [ratio(&times[1], &times[0]), ratio(&times[2], &times[0])];
    let [clean_ms, armed_ms, faulty_ms] = times.map(|mut times| median(&mut times));
    Ok(LayerCost {
        layer: layer.name.clone(),
        shape: shape.name,
        site: site.name(),
        clean_ms,
        armed_ms,
        faulty_ms,
        armed_ratio: ratios[0],
        faulty_ratio: ratios[1],
    })
}
