//! Intervals of means, of their ratios and of their differences, over many layers and images.
//!
//! A figure is made of the means of [`Stratum`]s: layers, drawn in cells (bits, where draws were stratified by
//! them). Its error is the sum of what single observations add to it, to first order (linearization; Woodruff,
//! 1971, *A simple method for approximating the variance of a complicated estimate*; Wolter, 2007,
//! *Introduction to Variance Estimation*, ch. 6): an observation x of weight w in a stratum of weight W adds
//! w·(x − m)/W, m the mean of its cell. What is summed up and squared are clusters, whose sums are independent
//! of each other: images, each with all of its injections in all layers, or injections. Where two models share
//! faults, a cluster holds those of both: that is what makes their comparison paired.
//!
//! Means of ΔLoss are carried by few faults. Two things keep their intervals honest. They are those of the
//! logarithm, where the figure can't be negative, so that they reach further up than down. And they are a t
//! distribution's, whose degrees of freedom are the effective number of clusters that carry the variance:
//!
//!   ν = (Σu²)² / (Σu⁴ − (Σu²)²/n),
//!
//! half of what Satterthwaite's (1946) rule gives, which trusts the sample's fourth moment more than so few
//! faults allow. `examples/coverage` prints how often that holds. In a trial on the same layers a bootstrap (BC_a)
//! held the mean ΔLoss of an inner layer in 81 to 84 % of campaigns of 200 injections, and in 90 to 95 % of 1,000.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use strum::{EnumIter, EnumString, IntoStaticStr};

use super::interval::{Confidence, Estimate};
use super::linearized::Linearized;
use crate::Error;

/// Cells with fewer clusters are joined with their neighbours: so few say little of their spread.
const FEWEST_OF_A_CELL: usize = 4;

/// Errors that are smaller in proportion are what rounding left of none.
const ROUNDING: f64 = 1e-12;

/// With fewer clusters a mean has no interval: what they have in common would pass for certainty.
pub const FEWEST_CLUSTERS: usize = 5;

/// What varies from one campaign to the next, so that intervals are about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[derive(EnumIter, EnumString, IntoStaticStr)]
#[strum(serialize_all = "kebab-case", parse_err_ty = Error, parse_err_fn = unknown)]
pub enum Unit {
    /// Images, each with all of its injections. Intervals are about all images of the kind, not only the
    /// evaluated ones.
    #[default]
    Images,
    /// Injections. Intervals are about the evaluated images alone.
    Injections,
}

impl Unit {
    /// The word on the command line.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

fn unknown(word: &str) -> Error {
    Error::unknown::<Unit>("unit that varies", word)
}

/// The total weight of observations, and their weighted sum.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    pub weight: f64,
    pub sum: f64,
}

impl Tally {
    /// Adds an observation that counts `weight` times.
    pub fn push(&mut self, value: f64, weight: f64) {
        self.weight += weight;
        self.sum += weight * value;
    }

    /// Mean of the observations; NaN of none.
    pub fn mean(&self) -> f64 {
        self.sum / self.weight
    }

    fn add(&mut self, other: &Tally) {
        self.weight += other.weight;
        self.sum += other.sum;
    }
}

/// The tallies of two models, or of one (side 0).
type Sides = [Tally; 2];

fn total<'s>(tallies: impl Iterator<Item = &'s Sides>) -> Sides {
    let mut total = Sides::default();
    for sides in tallies {
        total.iter_mut().zip(sides).for_each(|(total, tally)| total.add(tally));
    }
    total
}

/// The observations of one layer for one model or two.
#[derive(Clone, Debug, Default)]
pub struct Stratum {
    /// Clusters of one number are one cluster in all strata of a group.
    group: u64,
    /// By cell, within which was drawn, and cluster.
    clusters: BTreeMap<(u32, u64), Sides>,
}

impl Stratum {
    /// An empty stratum of a group.
    pub fn new(group: u64) -> Self {
        Stratum { group, clusters: BTreeMap::new() }
    }

    /// Adds an observation of one side that counts `weight` times; values that aren't finite are left out.
    /// `cell` is what the draws were stratified by within the layer, 0 if nothing.
    pub fn push(&mut self, side: usize, cell: u32, cluster: u64, value: f64, weight: f64) {
        if value.is_finite() {
            self.clusters.entry((cell, cluster)).or_default()[side].push(value, weight);
        }
    }

    /// Everything that was pushed.
    pub fn total(&self) -> Sides {
        total(self.clusters.values())
    }

    /// The clusters, cell by cell; small cells are joined with the next.
    fn cells(&self) -> Vec<Vec<(u64, Sides)>> {
        let mut cells: Vec<Vec<(u64, Sides)>> = Vec::new();
        let mut last = None;
        for ((cell, cluster), sides) in &self.clusters {
            let is_full = cells.last().is_none_or(|cell| cell.len() >= FEWEST_OF_A_CELL);
            if is_full && last != Some(*cell) {
                cells.push(Vec::new());
            }
            last = Some(*cell);
            cells.last_mut().expect("a cell was begun").push((*cluster, *sides));
        }
        if cells.last().is_some_and(|cell| cell.len() < FEWEST_OF_A_CELL) && cells.len() > 1 {
            let rest = cells.pop().unwrap_or_default();
            cells.last_mut().expect("there were two").extend(rest);
        }
        cells
    }

    /// What each cluster adds to the mean of either side.
    fn influences(&self) -> impl Iterator<Item = (u64, [f64; 2])> {
        let whole = self.total();
        self.cells().into_iter().flat_map(move |cell| {
            let mean = total(cell.iter().map(|(_, sides)| sides)).map(|tally| tally.mean());
            // The mean was made of the same clusters; NaN of a single one, whose spread isn't known.
            let own = (cell.len() as f64 / (cell.len() as f64 - 1.0)).sqrt();
            cell.into_iter().map(move |(cluster, sides)| {
                let of = |side: usize| {
                    let Tally { weight, sum } = sides[side];
                    match weight > 0.0 {
                        true => own * (sum - weight * mean[side]) / whole[side].weight,
                        false => 0.0,
                    }
                };
                (cluster, [of(0), of(1)])
            })
        })
    }
}

/// A figure of the weighted means of two models, Σ w·mean / Σ w over the strata that hold anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeanFigure {
    /// The mean of side 0.
    Mean,
    /// Side 0 divided by side 1.
    Ratio,
    /// Side 1 less side 0.
    Difference,
}

/// The weighted means of either side; NaN of a side without observations.
pub fn weighted_means(strata: &[&Stratum], weights: &[[f64; 2]]) -> [f64; 2] {
    let totals: Vec<Sides> = strata.iter().map(|stratum| stratum.total()).collect();
    [0, 1].map(|side| {
        let shares = shares(&totals, weights, side);
        let means = totals.iter().zip(&shares).filter(|(_, share)| **share > 0.0);
        match shares.iter().any(|share| *share > 0.0) {
            true => means.map(|(total, share)| share * total[side].mean()).sum(),
            false => f64::NAN,
        }
    })
}

/// The shares of the strata in a side's mean.
fn shares(totals: &[Sides], weights: &[[f64; 2]], side: usize) -> Vec<f64> {
    let of = |(total, weights): (&Sides, &[f64; 2])| match total[side].weight {
        weight if weight > 0.0 => weights[side],
        _ => 0.0,
    };
    let shares: Vec<f64> = totals.iter().zip(weights).map(of).collect();
    let sum: f64 = shares.iter().sum();
    shares.into_iter().map(|share| if sum > 0.0 { share / sum } else { 0.0 }).collect()
}

/// A figure of some strata, each of which has a weight in either side's mean, with its interval.
///
/// The figure is NaN where a side has no observations, and a ratio also where its divisor isn't positive. The
/// ends are NaN where no interval is known: of fewer than [`FEWEST_CLUSTERS`], and where all observations are equal,
/// which is no certainty. Two sides with the same observations differ for certain by nothing.
pub fn estimate(
    figure: MeanFigure,
    strata: &[&Stratum],
    weights: &[[f64; 2]],
    confidence: Confidence,
) -> Estimate {
    linearize(figure, strata, weights).estimate(confidence)
}

/// The mean of independent observations of a quantity that isn't negative, with its interval.
pub fn plain_mean(values: impl IntoIterator<Item = f64>, confidence: Confidence) -> Estimate {
    let mut stratum = Stratum::new(0);
    for (at, value) in values.into_iter().enumerate() {
        stratum.push(0, 0, at as u64, value, 1.0);
    }
    estimate(MeanFigure::Mean, &[&stratum], &[[1.0, 0.0]], confidence)
}

/// The figure of [`estimate`] with its standard error.
pub fn linearize(figure: MeanFigure, strata: &[&Stratum], weights: &[[f64; 2]]) -> Linearized {
    let [a, b] = weighted_means(strata, weights);
    let value = match figure {
        MeanFigure::Mean => a,
        MeanFigure::Ratio if b > 0.0 && a >= 0.0 => a / b,
        MeanFigure::Ratio => f64::NAN,
        MeanFigure::Difference => b - a,
    };
    // On the scale of the logarithm what adds to a mean is a share of it.
    let is_log = figure != MeanFigure::Difference && value > 0.0;
    let scale = match (figure, is_log) {
        (MeanFigure::Mean, true) => [1.0 / a, 0.0],
        (MeanFigure::Mean, false) => [1.0, 0.0],
        (MeanFigure::Ratio, _) => [1.0 / a, -1.0 / b],
        (MeanFigure::Difference, _) => [-1.0, 1.0],
    };
    let is_same = || strata.iter().all(|s| s.clusters.values().all(|[a, b]| a == b));
    if figure != MeanFigure::Mean && a == b && value.is_finite() && is_same() {
        return Linearized::certain(value);
    }
    let unknown = Linearized::unknown(value);
    if !scale.iter().all(|scale| scale.is_finite()) || !value.is_finite() {
        return unknown;
    }
    let totals: Vec<Sides> = strata.iter().map(|stratum| stratum.total()).collect();
    let shares = [0, 1].map(|side| shares(&totals, weights, side));
    let mut clusters = BTreeMap::<(u64, u64), f64>::new();
    for (at, stratum) in strata.iter().enumerate() {
        let factor = [0, 1].map(|side| scale[side] * shares[side][at]);
        for (cluster, influence) in stratum.influences() {
            *clusters.entry((stratum.group, cluster)).or_default() +=
                factor[0] * influence[0] + factor[1] * influence[1];
        }
    }
    let n = clusters.len() as f64;
    let moment = |power: i32| clusters.values().map(|u| u.powi(power)).sum::<f64>();
    let (squares, fourths) = (moment(2), moment(4));
    // Neither what rounding leaves of 0, nor the NaN of a stratum with a single cluster.
    let size = (a * scale[0]).abs().max((b * scale[1]).abs());
    let is_known = squares.sqrt() > ROUNDING * size;
    if clusters.len() < FEWEST_CLUSTERS || !is_known {
        return unknown;
    }
    let spread = fourths - squares * squares / n;
    let freedom = (squares * squares / spread).clamp(1.0, n - 1.0);
    Linearized { value, standard_error: squares.sqrt(), freedom, is_log }
}

/// How many clusters carry half of a mean's sum, the largest first; 0 where it isn't positive.
pub fn carriers(values: impl IntoIterator<Item = f64>) -> usize {
    let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    let total: f64 = values.iter().sum();
    if total <= 0.0 {
        return 0;
    }
    values.sort_by(|a, b| b.total_cmp(a));
    let mut sum = 0.0;
    values
        .iter()
        .take_while(|value| {
            let is_short = sum < total / 2.0;
            sum += **value;
            is_short
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{self, Draw};

    const A: [f64; 8] = [0.1, 0.2, 0.05, 3.0, 0.4, 0.0, 1.2, 0.3];
    const B: [f64; 8] = [0.2, 0.1, 0.05, 1.0, 0.9, 0.1, 0.7, 0.3];

    /// Both sides, a cluster each observation.
    fn stratum(group: u64, sides: [&[f64]; 2]) -> Stratum {
        let mut stratum = Stratum::new(group);
        for (side, values) in sides.into_iter().enumerate() {
            for (at, value) in values.iter().enumerate() {
                stratum.push(side, 0, at as u64, *value, 1.0);
            }
        }
        stratum
    }

    fn of(figure: MeanFigure, strata: &[Stratum]) -> Estimate {
        let weights = vec![[1.0, 1.0]; strata.len()];
        estimate(figure, &strata.iter().collect::<Vec<_>>(), &weights, Confidence::P95)
    }

    fn width(estimate: Estimate) -> f64 {
        (estimate.high / estimate.low).ln()
    }

    /// The formulas of the module's head, written again with numpy and scipy.stats.t.
    #[test]
    fn figures_are_those_of_the_formulas() {
        let strata = [stratum(0, [&A, &B])];
        for (figure, value, low, high) in [
            (MeanFigure::Mean, 0.65625, 0.07544502039338494, 5.708316602665548),
            (MeanFigure::Ratio, 1.5671641791044775, 0.43416693572441517, 5.656818523433447),
            (MeanFigure::Difference, -0.2375, -1.3449572519076818, 0.8699572519076817),
        ] {
            let found = of(figure, &strata);
            let off =
                (found.value - value).abs() + (found.low - low).abs() + (found.high - high).abs();
            assert!(off < 1e-9, "{figure:?}: {found:?}");
        }
    }

    /// An image's injections in two layers are one cluster; injections of two layers are independent.
    #[test]
    fn clusters_of_a_group_go_together() {
        let strata = |groups: [u64; 2]| groups.map(|group| stratum(group, [&A, &[]]));
        let together = width(of(MeanFigure::Mean, &strata([0, 0])));
        let apart = width(of(MeanFigure::Mean, &strata([0, 1])));
        assert_eq!(together, width(of(MeanFigure::Mean, &[stratum(0, [&A, &[]])])));
        assert!(apart < 0.6 * together, "{apart} and {together}");
    }

    /// What nothing is known of has no interval, and no false certainty.
    #[test]
    fn nothing_seen_is_no_certainty() {
        let has_none = |estimate: Estimate| estimate.low.is_nan() && estimate.high.is_nan();
        let zeros = [0.0; 6];
        assert!(has_none(of(MeanFigure::Mean, &[stratum(0, [&zeros, &[]])])));
        let nothing = of(MeanFigure::Ratio, &[stratum(0, [&zeros, &zeros])]);
        assert!(nothing.value.is_nan() && has_none(nothing));
        let no_divisor = of(MeanFigure::Ratio, &[stratum(0, [&A, &zeros])]);
        assert!(no_divisor.value.is_nan() && has_none(no_divisor));
        assert!(has_none(of(MeanFigure::Mean, &[stratum(0, [&A[..1], &[]])])));
        assert!(has_none(of(MeanFigure::Mean, &[stratum(0, [&[], &[]])])));
        // Nor does a layer with a single image stand for certainty beside one with many.
        let beside = [stratum(0, [&A, &B]), stratum(1, [&A[..1], &B[..1]])];
        for figure in [MeanFigure::Mean, MeanFigure::Ratio, MeanFigure::Difference] {
            let found = of(figure, &beside);
            assert!(found.value.is_finite() && has_none(found), "{figure:?}: {found:?}");
        }
        let one = of(MeanFigure::Ratio, &[stratum(0, [&A[..1], &A[..1]])]);
        assert_eq!([one.value, one.low, one.high], [1.0; 3]);
        let itself = of(MeanFigure::Ratio, &[stratum(0, [&A, &A])]);
        assert_eq!([itself.value, itself.low, itself.high], [1.0; 3]);
    }

    /// Cells of one cluster have no spread of their own: they are joined, and the interval holds the truth.
    #[test]
    fn small_cells_are_joined() {
        let covered = (0..400u64).filter(|trial| {
            let mut draws = rng::stream(*trial, "cells");
            let mut stratum = Stratum::new(0);
            for n in 0..40u64 {
                let bit = (n % 32) as u32;
                // Bits differ: neighbours are alike.
                let value = f64::from(bit) / 16.0 * draws.unit() * 2.0;
                stratum.push(0, bit, n, value, if n % 32 < 8 { 0.625 } else { 1.25 });
            }
            let found = of(MeanFigure::Mean, &[stratum]);
            assert!(found.low < found.value && found.value < found.high, "{found:?}");
            found.holds(31.0 / 32.0)
        });
        let covered = covered.count();
        assert!((368..=396).contains(&covered), "{covered} of 400");
    }

    /// Covered of 400 trials, two layers of skewed values with means 1 and 3, weighted 3 : 1, in 40 images of
    /// which some do more harm than others in both layers.
    fn covered(cluster: impl Fn(u64, u64) -> u64, groups: [u64; 2]) -> usize {
        let trial = |trial: &u64| {
            let mut draws = rng::stream(*trial, "simulated");
            let mut strata = groups.map(Stratum::new);
            for image in 0..40 {
                // What an image's injections share, and what each has of its own; mean 1.
                let shared = -(1.0 - draws.unit()).ln();
                for (stratum, mean) in strata.iter_mut().zip([1.0, 3.0]) {
                    for injection in 0..4 {
                        let value = mean * (0.5 * shared + draws.unit());
                        stratum.push(0, 0, cluster(image, injection), value, 1.0);
                    }
                }
            }
            let weights = [[3.0, 0.0], [1.0, 0.0]];
            let strata = strata.each_ref();
            estimate(MeanFigure::Mean, &strata, &weights, Confidence::P95).holds(1.5)
        };
        (0..400).filter(trial).count()
    }

    /// Intervals over images cover what other images would give about 95 times in 100, if an image is one
    /// cluster in all layers. Those over injections don't, and don't claim to. The standard error of 400 trials
    /// is 1.1 %.
    #[test]
    fn intervals_cover_the_true_value() {
        let images = covered(|image, _| image, [0, 0]);
        assert!((368..=394).contains(&images), "{images} of 400");
        let layer_by_layer = covered(|image, _| image, [0, 1]);
        assert!(layer_by_layer < 364, "{layer_by_layer} of 400");
        let injections = covered(|image, injection| 4 * image + injection, [0, 1]);
        assert!(injections < 320, "{injections} of 400");
    }

    #[test]
    fn carriers_are_the_fewest_that_make_half() {
        assert_eq!(carriers(A), 1);
        assert_eq!(carriers([1.0; 7]), 4);
        assert_eq!(carriers([0.0, 0.0]), 0);
        assert_eq!(carriers([f64::NAN, 2.0, 1.0]), 1);
    }
}
