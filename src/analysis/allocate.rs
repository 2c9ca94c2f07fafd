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

/// What a pilot saw of one figure in a layer.
struct Seen {
    /// By bit: the variance within.
    bits: Vec<f64>,
    /// Of all faults in the layer, over bits and within.
    whole: f64,
}

impl Seen {
    /// Of a layer's values by bit.
    fn new(values: &[Vec<f64>], variance: impl Fn(&[f64]) -> f64) -> Seen {
        let mean = |values: &[f64]| match values.is_empty() {
            true => 0.0,
            false => values.iter().sum::<f64>() / values.len() as f64,
        };
        let bits: Vec<f64> = values.iter().map(|values| variance(values)).collect();
        let means: Vec<f64> = values.iter().map(|values| mean(values)).collect();
        Seen { whole: mean(&bits) + spread(&means), bits }
    }
}

/// The variance of values; 0 of one.
fn spread(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    if values.len() < 2 { 0.0 } else { squares / (n - 1.0) }
}

/// The variance of a rate's observations, by Laplace's estimate of it: a pilot that saw no event doesn't say that there
/// is none.
fn spread_of_rate(values: &[f64]) -> f64 {
    let rate = (values.iter().sum::<f64>() + 1.0) / (values.len() as f64 + 2.0);
    rate * (1.0 - rate)
}

/// Allocates `injections` a layer, on average, by what a pilot saw.
///
/// Three kinds of figures are to gain alike: the network's mean, the mean of each layer, and the network's SDC rate,
/// layers alike; means of ΔLoss under range, or of |Δp| where that isn't among the detectors. What a bit of a layer
/// adds to their variances, each divided by what it would be with bits drawn uniformly, is added up, and the sum of all
/// made as small as can be ([`allocated`]). Of the network's mean alone one layer would get nearly all: the last one,
/// in which faults do most. A quarter of the injections is dealt out evenly, and every bit has at least as many as
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
    check_budget(manifest, injections)?;
    let detectors = &plan.detectors;
    let (detector, mean) = match detectors.contains(&Detector::Range) {
        true => (Detector::Range, Measure::DeltaLoss),
        false => (Detector::None, Measure::DeltaP),
    };
    let first = if detectors.contains(&Detector::None) { Detector::None } else { detector };
    let counts = Scope::ALL.layers(pilot);
    let (mut means, mut rates) = (Vec::new(), Vec::new());
    for layer in 0..layers.len() {
        means.push(Seen::new(&by_bit(pilot, layer, detector, mean)?, spread));
        let sdc = by_bit(pilot, layer, first, Measure::Is(Outcome::Sdc))?;
        rates.push(Seen::new(&sdc, spread_of_rate));
    }
    let whole = |seen: &[Seen]| counts.iter().map(|layer| seen[*layer].whole).sum::<f64>();
    let of_network = [whole(&means), whole(&rates)];
    let relative = |variance: f64, whole: f64| if whole > 0.0 { variance / whole } else { 0.0 };
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
                let of_layer = relative(mean.bits[bit], mean.whole) / layers.len() as f64;
                let sum = relative(mean.bits[bit], of_network[0])
                    + relative(rate.bits[bit], of_network[1]);
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

/// Refuses a number of injections a layer that leaves nothing to allocate.
///
/// # Errors
/// Fewer than intervals need of each bit, or more than can be kept.
pub fn check_budget(manifest: &Manifest, injections: u64) -> Result<()> {
    let bits = manifest.layers.iter().map(|layer| layer.bits_at(manifest.plan.site));
    let needed = FEWEST_OF_A_BIT as u64 * u64::from(bits.max().unwrap_or(0));
    if (needed..=MOST).contains(&injections) {
        return Ok(());
    }
    Err(Error::usage(format!(
        "allocating takes {needed} injections a layer at least, {FEWEST_OF_A_BIT} for each bit, and at most {MOST}, \
         not {injections}"
    )))
}

/// The finite values of a layer's records, by bit.
fn by_bit(
    pilot: &Run,
    layer: usize,
    detector: Detector,
    measure: Measure,
) -> Result<Vec<Vec<f64>>> {
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
