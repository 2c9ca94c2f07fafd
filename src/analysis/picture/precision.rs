//! How closely a run knows its network's SDC rate, and what more injections would buy.

use serde::Serialize;
use strum::IntoEnumIterator;

use super::{Shown, check};
use crate::analysis::allocate::{allocate, fewest_to_allocate};
use crate::analysis::rates::{Intervals, select};
use crate::analysis::scope::{Scope, Weighting};
use crate::detector::Detector;
use crate::plan::{Protocol, Stratify};
use crate::results::{Measure, Outcome, Run};
use crate::statistics::{EffectiveRate, Estimate};

/// So many times the injections, less and more than there are; 1 is what there is.
const TIMES: [f64; 10] =
    [1.0 / 16.0, 1.0 / 8.0, 1.0 / 4.0, 1.0 / 2.0, 1.0, 2.0, 4.0, 10.0, 20.0, 40.0];

/// The interval of a rate if there were so many times as many injections, and it stayed what it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AtInjections {
    pub times: f64,
    /// Injections a layer, on average.
    pub injections: f64,
    pub estimate: Estimate,
    /// Half the width of the interval.
    pub half_width: f64,
}

/// A layer's part in the variance of the network's rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LayerShare {
    /// Index into the run's layers.
    pub layer: usize,
    /// The layer's weight, of 1.
    pub weight: f64,
    /// Its share of the variance, of 1.
    pub variance: f64,
}

/// The network's SDC rate in one weighting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WeightedPrecision {
    pub weighting: Weighting,
    pub at: Vec<AtInjections>,
    /// In the model's order.
    pub shares: Vec<LayerShare>,
}

/// How closely the network's SDC rate is known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Precision {
    pub detector: Detector,
    /// Injections a layer, on average over those that count.
    pub injections: f64,
    pub weightings: Vec<WeightedPrecision>,
    /// How many times its present injections each layer would get if `--allocate` took this run as its pilot and spent
    /// as many in all, by the layer's index; or why that can't be said.
    pub allocation: Shown<Vec<(usize, f64)>>,
}

/// The precision of a run's network SDC rate.
///
/// # Errors
/// Runs whose network has no such interval: layers that a rule stopped by another figure, GoldenEye's protocol, lists.
pub fn precision(run: &Run, detector: Detector, how: &Intervals) -> Shown<Precision> {
    check(run, detector)?;
    let plan = &run.manifest.plan;
    if plan.protocol == Protocol::Goldeneye {
        return Err(
            "GoldenEye's protocol has intervals of layers alone, none of the network.".into()
        );
    }
    if plan.list.is_some() {
        return Err(
            "Faults of a list weren't drawn: more of them isn't a matter of numbers.".into()
        );
    }
    if let Some(rule) = &plan.until {
        return Err(format!(
            "Layers stopped where {rule}, so that their numbers of injections follow from what was seen: give another \
             --half-width for more."
        ));
    }
    let layers = Scope::ALL.layers(run);
    let records = layers.iter().map(|layer| run.of(*layer, detector).count() as f64);
    let injections = records.sum::<f64>() / layers.len() as f64;
    let mut weightings = Vec::new();
    for weighting in Weighting::iter() {
        let selection = select(run, layers.clone(), detector).weighted(weighting);
        let (rates, _) = selection.layer_rates(Measure::Is(Outcome::Sdc));
        if rates.is_empty() {
            return Err("No layer that the network's figures count has an injection.".into());
        }
        let shared: Vec<(f64, EffectiveRate)> =
            rates.iter().map(|(_, share, rate)| (*share, *rate)).collect();
        let known = EffectiveRate::of_layers(&shared);
        let at = |times: f64| {
            let estimate = known.times(times).estimate(how.rates, how.confidence);
            let half_width = (estimate.high - estimate.low) / 2.0;
            AtInjections { times, injections: times * injections, estimate, half_width }
        };
        let shares = EffectiveRate::shares_of_variance(&shared).into_iter().zip(&rates);
        let share = |(variance, (place, weight, _)): (f64, &(usize, f64, EffectiveRate))| {
            LayerShare { layer: layers[*place], weight: *weight, variance }
        };
        let shares = shares.map(share).collect();
        weightings.push(WeightedPrecision { weighting, at: TIMES.map(at).to_vec(), shares });
    }
    Ok(Precision { detector, injections, weightings, allocation: allocation(run, injections) })
}

/// How many times its injections each layer would get.
fn allocation(run: &Run, injections: f64) -> Shown<Vec<(usize, f64)>> {
    let manifest = &run.manifest;
    if matches!(manifest.plan.stratify, Stratify::Allocated(_)) {
        return Err("Injections are allocated already.".into());
    }
    let budget = (injections.round() as u64).max(fewest_to_allocate(manifest));
    let allocation = allocate(run, budget).map_err(|error| format!("{error}."))?;
    let of = |(index, layer): (usize, &crate::results::LayerRow)| {
        let of_layer = allocation.injections(&layer.pair_key)?;
        Some((index, of_layer as f64 / budget as f64))
    };
    Ok(manifest.layers.iter().enumerate().filter_map(of).collect())
}
