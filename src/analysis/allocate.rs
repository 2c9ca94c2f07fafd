//! From a pilot to the numbers of injections of a campaign.

use std::collections::BTreeMap;

use super::rates::FEWEST_OF_A_BIT;
use super::scope::Scope;
use crate::detector::Detector;
use crate::plan::{Allocation, Pilot};
use crate::results::{Manifest, Measure, Outcome, Record, Run};
use crate::statistics::{AllocationStratum, allocated};
use crate::{Error, Result};

/// Injections into each bit of a layer that a pilot has.
const PILOT_OF_A_BIT: u64 = 12;

/// Injections of a pilot into a layer.
pub const PILOT: u64 = PILOT_OF_A_BIT * 32;

/// The share of the injections that all bits of all layers have alike, whatever the pilot saw: it may have missed what
/// is rare.
const EVEN: f64 = 0.25;

/// A pilot needs as many injections into a bit for its variance to mean something.
const FEWEST_TO_LEARN_FROM: usize = 4;

/// The most injections a layer, on average, whose order fits into memory.
const MOST: u64 = 1 << 28;

/// How many observations of a bit what all layers say of it counts for in each, in variances and in rates. Bits do much
/// the same everywhere, and of so few injections a layer's own variance may be anything.
const PRIOR: [f64; 2] = [12.0, 2.0];

/// What a pilot saw of one figure in a layer.
struct PilotFigure {
    /// By bit: the variance within.
    bits: Vec<f64>,
    /// Of all faults in the layer, over bits and within.
    whole: f64,
}

/// A layer's finite values, by bit.
type ValuesByBit = Vec<Vec<f64>>;

impl PilotFigure {
    /// Of a layer's values, where `variance` says what a bit's is.
    fn new(values: &ValuesByBit, variance: impl Fn(usize, &[f64]) -> f64) -> PilotFigure {
        let of_bits = values.iter().enumerate();
        let bits: Vec<f64> = of_bits.map(|(bit, values)| variance(bit, values)).collect();
        let means: Vec<f64> = values.iter().map(|values| mean(values)).collect();
        PilotFigure { whole: mean(&bits) + variance_of(&means), bits }
    }

    /// Of the values of a mean. Half of a bit's variance is the layer's times what share of theirs it is in all layers.
    fn of_mean(layers: &[ValuesByBit]) -> Vec<PilotFigure> {
        let own = |_: usize, values: &[f64]| variance_of(values);
        let mut all: Vec<PilotFigure> =
            layers.iter().map(|values| PilotFigure::new(values, own)).collect();
        let bits = all.iter().map(|seen| seen.bits.len()).max().unwrap_or(0);
        let in_all = |bit: usize| {
            let share = |seen: &PilotFigure| Some(relative(*seen.bits.get(bit)?, seen.whole));
            mean(&all.iter().filter_map(share).collect::<Vec<f64>>())
        };
        let in_all: Vec<f64> = (0..bits).map(in_all).collect();
        for (seen, values) in all.iter_mut().zip(layers) {
            for (bit, variance) in seen.bits.iter_mut().enumerate() {
                let own = (values[bit].len() as f64 - 1.0).max(0.0);
                let shrunk = own * *variance + PRIOR[0] * in_all[bit] * seen.whole;
                *variance = shrunk / (own + PRIOR[0]);
            }
        }
        all
    }

    /// Of the events of a rate, by Laplace's estimate over all layers and a bit of that in each: a pilot that saw no
    /// event doesn't say that there is none.
    fn of_rate(layers: &[ValuesByBit]) -> Vec<PilotFigure> {
        let in_all = |bit: usize| {
            let values = layers.iter().filter_map(|values| values.get(bit)).flatten();
            let (count, events) = values.fold((0.0, 0.0), |(n, sum), event| (n + 1.0, sum + event));
            (events + 1.0) / (count + 2.0)
        };
        let variance = |bit: usize, values: &[f64]| {
            let events = values.iter().sum::<f64>() + PRIOR[1] * in_all(bit);
            let rate = events / (values.len() as f64 + PRIOR[1]);
            rate * (1.0 - rate)
        };
        layers.iter().map(|values| PilotFigure::new(values, variance)).collect()
    }
}

/// The mean of values; 0 of none.
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / (values.len() as f64).max(1.0)
}

/// The variance of values; 0 of one.
fn variance_of(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    squares / (values.len() as f64 - 1.0).max(1.0)
}

/// A variance as a share of another; 0 where nothing varies.
fn relative(variance: f64, whole: f64) -> f64 {
    if whole > 0.0 { variance / whole } else { 0.0 }
}

/// Allocates `injections` a layer, on average, by what a pilot saw.
///
/// Three kinds of figures are to gain alike: the network's mean, the mean of each layer, and the network's SDC rate,
/// layers alike; means of ΔLoss under range, or of |Δp| where that isn't among the detectors. What a bit of a layer
/// adds to their variances, each divided by what it would be with bits drawn uniformly, is added up, and the sum of all
/// made as small as can be ([`allocated`]). Of the network's mean alone few layers would get nearly all: those in
/// which faults do most. A last layer that is counted has no part in means. A quarter of the injections is dealt out evenly, and every bit has at least as many as
/// intervals need.
///
/// # Errors
/// Too few injections for that; a pilot that says too little.
pub fn allocate(pilot: &Run, injections: u64) -> Result<Allocation> {
    let manifest = &pilot.manifest;
    let (plan, layers) = (&manifest.plan, &manifest.layers);
    let least = |bits: u32| {
        let even = (EVEN * injections as f64 / f64::from(bits)).floor() as u64;
        even.max(FEWEST_OF_A_BIT as u64)
    };
    if !plan.only_bits.is_all() {
        return Err(Error::usage(format!(
            "the pilot's faults are of the bits {} alone, and say nothing of the others",
            plan.only_bits
        )));
    }
    check_budget(manifest, injections)?;
    let detectors = &plan.detectors;
    let (detector, measure) = match detectors.contains(&Detector::Range) {
        true => (Detector::Range, Measure::DeltaLoss),
        false => (Detector::None, Measure::DeltaP),
    };
    let first = if detectors.contains(&Detector::None) { Detector::None } else { detector };
    let counts = Scope::ALL.layers(pilot);
    let of = |detector, measure| -> Result<Vec<ValuesByBit>> {
        (0..layers.len()).map(|layer| by_bit(pilot, layer, detector, measure)).collect()
    };
    let mut means = PilotFigure::of_mean(&of(detector, measure)?);
    for (seen, layer) in means.iter_mut().zip(layers) {
        if measure == Measure::DeltaLoss && manifest.is_counted(layer) {
            // Nothing of this mean is left to draws.
            *seen = PilotFigure { bits: vec![0.0; seen.bits.len()], whole: 0.0 };
        }
    }
    let rates = PilotFigure::of_rate(&of(first, Measure::Is(Outcome::Sdc))?);
    let whole = |seen: &[PilotFigure]| counts.iter().map(|layer| seen[*layer].whole).sum::<f64>();
    let of_network = [whole(&means), whole(&rates)];
    // Layers of one pair key, which have the same faults, are one.
    let mut groups = BTreeMap::<&str, Vec<usize>>::new();
    for (index, layer) in layers.iter().enumerate() {
        groups.entry(&layer.pair_key).or_default().push(index);
    }
    let strata = groups.values().flat_map(|group| {
        let bits = layers[group[0]].bits_at(plan.site);
        let counts = &counts;
        let (means, rates) = (&means, &rates);
        (0..bits as usize).map(move |bit| {
            let of = |layer: &usize| {
                let (mean, rate) = (&means[*layer], &rates[*layer]);
                let is_counted = f64::from(u8::from(counts.contains(layer)));
                let [of_mean, of_rate] =
                    [mean, rate].map(|seen| seen.bits.get(bit).copied().unwrap_or(0.0));
                let of_layer = relative(of_mean, mean.whole) / layers.len() as f64;
                let sum = relative(of_mean, of_network[0]) + relative(of_rate, of_network[1]);
                (of_layer + is_counted * sum) / f64::from(bits).powi(2)
            };
            AllocationStratum {
                variance: group.iter().map(of).sum(),
                cost: group.len() as f64,
                least: least(bits),
            }
        })
    });
    let strata: Vec<AllocationStratum> = strata.collect();
    let mut sizes = allocated(&strata, injections as f64 * layers.len() as f64).into_iter();
    let of = |(pair_key, group): (&str, Vec<usize>)| {
        let bits = layers[group[0]].bits_at(plan.site) as usize;
        (pair_key.to_string(), sizes.by_ref().take(bits).collect())
    };
    Ok(Allocation {
        pilot: Pilot {
            checkpoint: manifest.setting.provenance.checkpoint.clone(),
            seed: plan.seed,
            injections: pilot.injections().1,
        },
        layers: groups.into_iter().map(of).collect(),
    })
}

/// The fewest injections a layer, on average, that can be allocated: as many of each bit as intervals need.
pub(super) fn fewest_to_allocate(manifest: &Manifest) -> u64 {
    let bits = manifest.layers.iter().map(|layer| layer.bits_at(manifest.plan.site));
    FEWEST_OF_A_BIT as u64 * u64::from(bits.max().unwrap_or(0))
}

/// Refuses a number of injections a layer that leaves nothing to allocate.
///
/// # Errors
/// Fewer than intervals need of each bit, or more than can be kept.
pub fn check_budget(manifest: &Manifest, injections: u64) -> Result<()> {
    let needed = fewest_to_allocate(manifest);
    if (needed..=MOST).contains(&injections) {
        return Ok(());
    }
    Err(Error::usage(format!(
        "allocating takes {needed} injections a layer at least, {FEWEST_OF_A_BIT} for each bit, and at most {MOST}, \
         not {injections}"
    )))
}

/// The finite values of a layer's records, by bit.
fn by_bit(pilot: &Run, layer: usize, detector: Detector, measure: Measure) -> Result<ValuesByBit> {
    let row = &pilot.manifest.layers[layer];
    let bits = row.bits_at(pilot.manifest.plan.site) as usize;
    let (mut values, mut records) = (vec![Vec::new(); bits], vec![0; bits]);
    for record in pilot.of(layer, detector) {
        let bit = pilot.manifest.bit(record).map(|bit| bit as usize).filter(|bit| *bit < bits);
        let Some(bit) = bit else { return Err(unusable(record)) };
        records[bit] += 1;
        let value = measure.of(record);
        if value.is_finite() {
            values[bit].push(value);
        }
    }
    match records.iter().position(|count| *count < FEWEST_TO_LEARN_FROM) {
        Some(bit) => Err(Error::usage(format!(
            "the pilot has {} injections into bit {bit} of the layer '{}': it takes {FEWEST_TO_LEARN_FROM} at least \
             to learn from",
            records[bit], row.name
        ))),
        None => Ok(values),
    }
}

fn unusable(record: &Record) -> Error {
    Error::usage(format!(
        "injection {} of a pilot didn't flip one bit of one value: nothing can be allocated to bits by it",
        record.n
    ))
}
