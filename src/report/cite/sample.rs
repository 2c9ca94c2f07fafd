//! The sample that a campaign is: its population, its injections, and what so many of them know.

use serde::Serialize;

use crate::analysis::Scope;
use crate::plan::{Flips, Stratify};
use crate::results::{LayerRow, Run};
use crate::statistics::{Confidence, SampleMargin, sample_margin};

/// Injections that a layer's rate takes to be known to 5 points at 95 %.
pub(super) const ENOUGH: u64 = 384;

/// A campaign as a sample of faults. Pairs are the fewest and the most of a layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct SampleFacts {
    pub layers: usize,
    /// Layers that figures of the network are over: the last one counts once.
    pub network_layers: usize,
    /// Values that a fault can hit, for one image; `None` where a store doesn't say how many a site has.
    pub values: Option<[u64; 2]>,
    /// Bits of a value that are drawn among.
    pub bits: [u32; 2],
    pub images: usize,
    /// Faults that there are: values × choices of bits × images. `None` where that isn't known, or is beyond counting.
    pub population: Option<[u64; 2]>,
    /// The same over the network's layers.
    pub network_population: Option<u64>,
    pub injections: [u64; 2],
    /// Over all layers.
    pub injections_in_all: u64,
    /// Over the network's layers.
    pub network_injections: u64,
    pub records: usize,
    pub confidence: Confidence,
    /// Of the layer that is known least; `None` where n doesn't say it: of a list's faults, and where a rule or a pilot
    /// decided on n.
    pub layer_margin: Option<SampleMargin>,
    /// Of the network's layers together, each alike.
    pub network_margin: Option<SampleMargin>,
    /// Whether more than 5 % of some layer's faults were drawn.
    pub has_large_share: bool,
    /// Names of layers with fewer injections than a margin of 5 points takes.
    pub small: Vec<String>,
}

impl SampleFacts {
    pub(super) fn of(run: &Run, confidence: Confidence) -> SampleFacts {
        let manifest = &run.manifest;
        let rows = &manifest.layers;
        let network = Scope::ALL.layers(run);
        let counts: Vec<u64> = (0..rows.len()).map(|layer| injections(run, layer)).collect();
        let populations: Vec<Option<u64>> = rows.iter().map(|row| population(run, row)).collect();
        let of_network = |layer: &usize| populations[*layer];
        let network_population = network
            .iter()
            .map(of_network)
            .try_fold(0u64, |sum, of| sum.checked_add(of?))
            .filter(|sum| *sum > 0);
        let network_injections = network.iter().map(|layer| counts[*layer]).sum();
        let is_sample = is_simple(run);
        let margins = counts.iter().zip(&populations);
        let margins: Vec<SampleMargin> =
            margins.filter_map(|(n, all)| sample_margin(*n, *all, confidence)).collect();
        let has_large_share = margins.iter().any(|margin| margin.corrected.is_some());
        let widest = margins.into_iter().max_by(|a, b| reach(a).total_cmp(&reach(b)));
        let values: Option<Vec<u64>> = rows.iter().map(|row| values(run, row)).collect();
        let all: Option<Vec<u64>> = populations.iter().copied().collect();
        let bits: Vec<u32> = rows.iter().map(|row| bits(run, row)).collect();
        let small = rows.iter().zip(&counts).filter(|(_, n)| **n < ENOUGH);
        SampleFacts {
            layers: rows.len(),
            network_layers: network.len(),
            values: values.and_then(|values| ends(&values)),
            bits: ends(&bits).unwrap_or_default(),
            images: manifest.images.len(),
            population: all.and_then(|all| ends(&all)),
            network_population,
            injections: ends(&counts).unwrap_or_default(),
            injections_in_all: counts.iter().sum(),
            network_injections,
            records: run.records.len(),
            confidence,
            layer_margin: widest.filter(|_| is_sample),
            network_margin: sample_margin(network_injections, network_population, confidence)
                .filter(|_| is_sample),
            has_large_share,
            small: small.map(|(row, _)| row.name.clone()).collect(),
        }
    }
}

/// The margin that the formula gives.
fn reach(of: &SampleMargin) -> f64 {
    of.corrected.unwrap_or(of.margin)
}

/// Whether every layer's faults are drawn, as many as was said before, each counting alike.
fn is_simple(run: &Run) -> bool {
    let plan = &run.manifest.plan;
    plan.until.is_none() && plan.list.is_none() && !matches!(plan.stratify, Stratify::Allocated(_))
}

/// Injections of a layer.
fn injections(run: &Run, layer: usize) -> u64 {
    let detector = run.manifest.plan.detectors.first();
    detector.map_or(0, |detector| run.of(layer, *detector).count() as u64)
}

/// The bits of a layer's values that faults are drawn among.
fn bits(run: &Run, row: &LayerRow) -> u32 {
    let plan = &run.manifest.plan;
    plan.bits_among(row.format_at(plan.site))
}

/// Values of a layer that a fault can hit, for one image.
fn values(run: &Run, row: &LayerRow) -> Option<u64> {
    let site = run.manifest.plan.site;
    // How many terms a sum has isn't kept.
    let shape = row.shape_at(site).filter(|_| !site.has_term())?;
    shape.iter().try_fold(1u64, |product, size| product.checked_mul(*size as u64))
}

/// Faults of a layer that the plan draws among.
fn population(run: &Run, row: &LayerRow) -> Option<u64> {
    let plan = &run.manifest.plan;
    if plan.list.is_some() || plan.flips != Flips::Count(1) {
        return None;
    }
    let choices = match plan.site.is_store() {
        true => 1,
        false => choose(u64::from(bits(run, row)), plan.bits as u64),
    };
    let images = run.manifest.images.len() as u64;
    values(run, row)?.checked_mul(choices)?.checked_mul(images)
}

/// In how many ways k of n can be chosen.
fn choose(n: u64, k: u64) -> u64 {
    (0..k).fold(1, |ways, taken| ways * n.saturating_sub(taken) / (taken + 1))
}

/// The least and the greatest.
fn ends<T: Copy + Ord>(of: &[T]) -> Option<[T; 2]> {
    Some([*of.iter().min()?, *of.iter().max()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_of_bits_are_binomial() {
        assert_eq!([1, 2, 3, 4].map(|bits| choose(32, bits)), [32, 496, 4960, 35960]);
        assert_eq!((choose(8, 0), choose(2, 3)), (1, 0));
    }
}
