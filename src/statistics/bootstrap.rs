//! The bootstrap: intervals for figures over many layers and images.
//!
//! What is resampled, with replacement and within each layer (and bit, where those are strata), is a [`Unit`]
//! of a layer: its images, each with all of its injections, or its injections. Where two models share a
//! layer, one resample serves both: that is what makes their comparison paired.
//!
//! Means of ΔLoss are skewed: percentile intervals of a few hundred injections miss too often, and on one
//! side (`examples/coverage` prints by how much). So intervals are BC_a's, corrected for bias and
//! acceleration (Efron, 1987, *Better bootstrap confidence intervals*; for strata, Davison and Hinkley, 1997,
//! *Bootstrap Methods and their Application*, ch. 5.3). Of a stratum of n units n − 1 are drawn, each
//! weighted by n/(n − 1), so that variances of small strata aren't too small (Rao and Wu, 1988).

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use strum::{EnumIter, EnumString, IntoStaticStr};

use super::interval::{Confidence, Estimate, normal_cdf, normal_quantile};
use crate::Error;
use crate::rng::{self, Draw};

/// Replicates for each percent that an interval may miss: 2,000 at 95 %, 10,000 at 99 %.
const REPLICATES_PER_ALPHA: f64 = 100.0;

/// The unit that a bootstrap resamples.
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
    Error::unknown::<Unit>("unit to resample", word)
}

/// Settings of a bootstrap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resampling {
    pub confidence: Confidence,
    pub replicates: usize,
    /// Random seed. An interval depends on it and on the observations alone.
    pub seed: u64,
}

impl Resampling {
    /// As many replicates as the confidence needs.
    pub fn new(confidence: Confidence, seed: u64) -> Resampling {
        let replicates = (REPLICATES_PER_ALPHA / confidence.alpha()).round().clamp(500.0, 1e5);
        Resampling { confidence, replicates: replicates as usize, seed }
    }
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

    fn add(&mut self, other: &Tally, times: f64) {
        self.weight += times * other.weight;
        self.sum += times * other.sum;
    }
}

/// The tallies of two models, or of one (side 0).
type Sides = [Tally; 2];

fn add(total: &mut Sides, other: &Sides, times: f64) {
    total.iter_mut().zip(other).for_each(|(total, tally)| total.add(tally, times));
}

/// The observations of one layer for one model or two.
#[derive(Clone, Debug, Default)]
pub struct Stratum {
    /// Label of its random stream: the layer's pair key.
    pub key: String,
    /// By cell, within which is resampled, and unit.
    units: BTreeMap<(u32, u64), Sides>,
}

impl Stratum {
    /// An empty stratum.
    pub fn new(key: impl Into<String>) -> Self {
        Stratum { key: key.into(), units: BTreeMap::new() }
    }

    /// Adds an observation of one side that counts `weight` times; values that aren't finite are left out.
    /// `cell` is what the draws were stratified by within the layer, 0 if nothing.
    pub fn push(&mut self, side: usize, cell: u32, unit: u64, value: f64, weight: f64) {
        if value.is_finite() {
            self.units.entry((cell, unit)).or_default()[side].push(value, weight);
        }
    }

    /// Everything that was pushed.
    pub fn total(&self) -> Sides {
        let mut total = Sides::default();
        self.units.values().for_each(|tallies| add(&mut total, tallies, 1.0));
        total
    }

    /// How many units there are, each cell's counted apart.
    pub fn units(&self) -> usize {
        self.units.len()
    }

    /// The units, cell by cell.
    fn cells(&self) -> Vec<Vec<Sides>> {
        let mut cells: Vec<Vec<Sides>> = Vec::new();
        let mut last = None;
        for ((cell, _), tallies) in &self.units {
            if last != Some(cell) {
                cells.push(Vec::new());
                last = Some(cell);
            }
            cells.last_mut().expect("a cell was begun").push(*tallies);
        }
        cells
    }
}

/// A stratum as it is resampled.
struct Cells<'s> {
    key: &'s str,
    cells: Vec<Vec<Sides>>,
    total: Sides,
}

impl Cells<'_> {
    fn resample(&self, seed: u64, replicate: usize) -> Sides {
        let mut draws = rng::stream(seed, &format!("bootstrap {replicate} {}", self.key));
        let mut total = Sides::default();
        for cell in &self.cells {
            let units = cell.len() as u64;
            if units == 1 {
                add(&mut total, &cell[0], 1.0); // nothing to draw among
                continue;
            }
            let times = units as f64 / (units - 1) as f64;
            for _ in 1..units {
                add(&mut total, &cell[draws.below(units) as usize], times);
            }
        }
        total
    }
}

/// Figures of the strata's totals, each with its BC_a interval.
///
/// Replicates in which a figure is NaN (a resample without observations) are left out of its interval. Where
/// every cell holds a single unit, intervals are NaN: one observation has no spread.
pub fn bootstrap(
    strata: &[Stratum],
    how: &Resampling,
    figures: impl Fn(&[Sides]) -> Vec<f64> + Sync,
) -> Vec<Estimate> {
    let cells: Vec<Cells> = strata
        .iter()
        .map(|stratum| Cells { key: &stratum.key, cells: stratum.cells(), total: stratum.total() })
        .collect();
    let totals: Vec<Sides> = cells.iter().map(|stratum| stratum.total).collect();
    let values = figures(&totals);
    if cells.iter().all(|stratum| stratum.cells.iter().all(|cell| cell.len() < 2)) {
        let unknown = |value| Estimate { value, low: f64::NAN, high: f64::NAN };
        return values.into_iter().map(unknown).collect();
    }
    let replicates: Vec<Vec<f64>> = (0..how.replicates)
        .into_par_iter()
        .map(|replicate| {
            let resampled: Vec<_> =
                cells.iter().map(|stratum| stratum.resample(how.seed, replicate)).collect();
            figures(&resampled)
        })
        .collect();
    let accelerations = accelerations(&cells, &totals, values.len(), &figures);
    values
        .into_iter()
        .enumerate()
        .map(|(index, value)| {
            let replicates = replicates.iter().map(|figures| figures[index]);
            bca(value, replicates, accelerations[index], how.confidence)
        })
        .collect()
}

/// A sixth of the skewness of each figure's empirical influence values, taken by leaving out a unit at a time
/// (Davison and Hinkley, 1997, equation 5.25); 0 where it can't be had.
fn accelerations(
    cells: &[Cells],
    totals: &[Sides],
    figures: usize,
    figure: &(impl Fn(&[Sides]) -> Vec<f64> + Sync),
) -> Vec<f64> {
    let every: Vec<(usize, &Vec<Sides>)> = cells
        .iter()
        .enumerate()
        .flat_map(|(stratum, cells)| cells.cells.iter().map(move |cell| (stratum, cell)))
        .filter(|(_, cell)| cell.len() > 1)
        .collect();
    // Sums of squares and cubes of each figure, cell by cell.
    let moments: Vec<Vec<[f64; 2]>> = every
        .par_iter()
        .map(|(stratum, cell)| {
            let (units, mut totals) = (cell.len() as f64, totals.to_vec());
            let whole = totals[*stratum];
            let mut cell_total = Sides::default();
            cell.iter().for_each(|unit| add(&mut cell_total, unit, 1.0));
            let without: Vec<Vec<f64>> = cell
                .iter()
                .map(|unit| {
                    // The others of the cell stand in for it.
                    let mut rest = cell_total;
                    add(&mut rest, unit, -1.0);
                    totals[*stratum] = whole;
                    add(&mut totals[*stratum], &cell_total, -1.0);
                    add(&mut totals[*stratum], &rest, units / (units - 1.0));
                    figure(&totals)
                })
                .collect();
            let moment = |index: usize| {
                let mean = without.iter().map(|figures| figures[index]).sum::<f64>() / units;
                let influence =
                    without.iter().map(|figures| (units - 1.0) / units * (mean - figures[index]));
                influence
                    .fold([0.0, 0.0], |[squares, cubes], l| [squares + l * l, cubes + l * l * l])
            };
            (0..figures).map(moment).collect()
        })
        .collect();
    (0..figures)
        .map(|index| {
            let sum = |power: usize| moments.iter().map(|cell| cell[index][power]).sum::<f64>();
            let acceleration = sum(1) / (6.0 * sum(0).powf(1.5));
            if acceleration.is_finite() { acceleration } else { 0.0 }
        })
        .collect()
}

/// The BC_a interval of a figure.
fn bca(
    value: f64,
    replicates: impl Iterator<Item = f64>,
    acceleration: f64,
    confidence: Confidence,
) -> Estimate {
    let mut values: Vec<f64> = replicates.filter(|replicate| !replicate.is_nan()).collect();
    if values.is_empty() || value.is_nan() {
        return Estimate { value, low: f64::NAN, high: f64::NAN };
    }
    values.sort_by(f64::total_cmp);
    let count = values.len() as f64;
    let below = values.iter().filter(|replicate| **replicate < value).count() as f64;
    let equal = values.iter().filter(|replicate| **replicate == value).count() as f64;
    let share = (below + equal / 2.0) / count;
    let bias = normal_quantile(share.clamp(0.5 / count, 1.0 - 0.5 / count));
    let level = |z: f64| {
        let shifted = bias + z;
        let narrowed = 1.0 - acceleration * shifted;
        // Past its pole the correction means the last replicate on that side.
        if narrowed > 0.0 { normal_cdf(bias + shifted / narrowed) } else { normal_cdf(40.0 * z) }
    };
    let z = confidence.z();
    let last = values.len() - 1;
    let low = (level(-z) * count).floor() as usize;
    let high = ((level(z) * count).ceil() as usize).saturating_sub(1);
    Estimate { value, low: values[low.min(last)], high: values[high.min(last)] }
}

/// a/b; 1 where both are the same, 0 and infinity included.
pub fn ratio(a: f64, b: f64) -> f64 {
    if a == b { 1.0 } else { a / b }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn how(replicates: usize, seed: u64) -> Resampling {
        Resampling { confidence: Confidence::P95, replicates, seed }
    }

    fn mean(strata: &[Stratum], how: Resampling) -> Estimate {
        bootstrap(strata, &how, |t| vec![t[0][0].mean()])[0]
    }

    #[test]
    fn intervals_depend_on_the_seed_only() {
        let mut stratum = Stratum::new("conv1");
        let mut draws = rng::stream(1, "values");
        (0..300).for_each(|i| stratum.push(0, 0, i % 40, draws.unit(), 1.0));
        let strata = [stratum];
        let run = |threads, seed| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| mean(&strata, how(500, seed)))
        };
        assert_eq!(run(1, 5), run(3, 5));
        assert_ne!(run(1, 5), run(1, 6));
        let estimate = run(1, 5);
        assert!(estimate.low < estimate.value && estimate.value < estimate.high);
    }

    #[test]
    fn more_confidence_takes_more_replicates_and_is_wider() {
        let mut stratum = Stratum::new("conv1");
        let mut draws = rng::stream(3, "values");
        (0..200).for_each(|i| stratum.push(0, 0, i, draws.unit().powi(4), 1.0));
        let at = |share| Resampling::new(Confidence::new(share).unwrap(), 1);
        assert_eq!([at(0.95).replicates, at(0.99).replicates], [2000, 10_000]);
        let strata = [stratum];
        let [narrow, wide] = [0.95, 0.99].map(|share| mean(&strata, at(share)));
        assert!(wide.low < narrow.low && narrow.high < wide.high);
    }

    /// Covered of 300 trials, two layers of clustered, skewed values with means 1 and 3, weighted 1 : 2.
    fn covered(unit: impl Fn(u64, u64) -> u64) -> usize {
        let trial = |trial: u64| {
            let mut draws = rng::stream(trial, "simulated");
            let mut strata = Vec::new();
            for (key, mean) in [("a", 1.0), ("b", 3.0)] {
                let mut stratum = Stratum::new(key);
                for image in 0..30 {
                    // What an image's injections share, and what each has of its own; mean 1.
                    let shared = -(1.0 - draws.unit()).ln();
                    for injection in 0..4 {
                        let value = mean * (0.5 * shared + draws.unit());
                        stratum.push(0, 0, unit(image, injection), value, 1.0);
                    }
                }
                strata.push(stratum);
            }
            let figure = |t: &[Sides]| vec![(t[0][0].mean() + 2.0 * t[1][0].mean()) / 3.0];
            bootstrap(&strata, &how(400, trial), figure)[0].holds(7.0 / 3.0)
        };
        (0..300).filter(|number| trial(*number)).count()
    }

    /// Intervals over images cover what other images would give about 95 times in 100; those over
    /// injections don't, and don't claim to. The standard error of 300 trials is 1.3 %.
    #[test]
    fn intervals_cover_the_true_value() {
        let images = covered(|image, _| image);
        assert!((273..=296).contains(&images), "{images} of 300");
        let injections = covered(|image, injection| 4 * image + injection);
        assert!(injections < 265, "{injections} of 300");
    }

    /// For a mean the acceleration is Σ(x − x̄)³/(6·(Σ(x − x̄)²)^1.5): of 0, 0, 0, 4 the deviations
    /// are −1, −1, −1, 3, so it is 24/(6·12^1.5).
    #[test]
    fn acceleration_is_a_sixth_of_the_skewness() {
        let mut stratum = Stratum::new("a");
        for (n, value) in [0.0, 0.0, 0.0, 4.0].into_iter().enumerate() {
            stratum.push(0, 0, n as u64, value, 1.0);
        }
        let (cells, total) = (stratum.cells(), stratum.total());
        let cells = [Cells { key: "a", cells, total }];
        let figure = |t: &[Sides]| vec![t[0][0].mean(), -t[0][0].mean()];
        let found = accelerations(&cells, &[total], 2, &figure);
        let expected = 24.0 / (6.0 * 12f64.powf(1.5));
        assert!((found[0] - expected).abs() < 1e-12 && (found[1] + expected).abs() < 1e-12);
    }

    /// Means of 60 squares of exponential variables (mean 2): the interval reaches further up than down, as
    /// it must to miss alike on both sides.
    #[test]
    fn intervals_lean_to_the_long_tail() {
        let (mut misses, mut wider_up) = ([0, 0], 0);
        for trial in 0..400u64 {
            let mut draws = rng::stream(trial, "skewed");
            let mut stratum = Stratum::new("a");
            (0..60).for_each(|n| stratum.push(0, 0, n, (1.0 - draws.unit()).ln().powi(2), 1.0));
            let Estimate { value, low, high } = mean(&[stratum], how(500, trial));
            misses[0] += usize::from(low > 2.0);
            misses[1] += usize::from(high < 2.0);
            wider_up += usize::from(high - value > value - low);
        }
        assert!(wider_up > 390, "{wider_up}");
        assert!(misses[0] + misses[1] < 40 && misses[1] < 30, "{misses:?}");
    }

    /// Within cells: what differs between cells alone has no spread, and a cell's weight counts.
    #[test]
    fn cells_are_resampled_on_their_own() {
        let mut stratum = Stratum::new("fc");
        for n in 0..64 {
            stratum.push(0, (n % 2) as u32, n, (n % 2) as f64, if n % 2 == 0 { 1.0 } else { 3.0 });
        }
        let estimate = mean(&[stratum.clone()], how(200, 1));
        assert!(estimate.value == 0.75 && estimate.high - estimate.low < 1e-12, "{estimate:?}");
        // Cells of two, 0 and 1, keep their variance.
        let mut stratum = Stratum::new("fc");
        (0..64).for_each(|n| stratum.push(0, (n % 32) as u32, n, (n / 32) as f64, 1.0));
        let estimate = mean(&[stratum], how(4000, 1));
        let half = (estimate.high - estimate.low) / 2.0;
        // The variance of a cell's mean is ½/2, of 32 cells' 1/128.
        assert!((half - 1.96 * (1.0f64 / 128.0).sqrt()).abs() < 0.02, "{half}");
    }

    #[test]
    fn a_pair_of_equals_has_the_ratio_one() {
        let mut stratum = Stratum::new("fc");
        let mut draws = rng::stream(2, "values");
        for image in 0..50 {
            let value = draws.unit();
            stratum.push(0, 0, image, value, 1.0);
            stratum.push(1, 0, image, value, 1.0);
        }
        let figure = |t: &[Sides]| vec![ratio(t[0][0].mean(), t[0][1].mean())];
        let estimate = bootstrap(&[stratum], &how(200, 1), figure)[0];
        assert_eq!(estimate, Estimate { value: 1.0, low: 1.0, high: 1.0 });
    }
}
