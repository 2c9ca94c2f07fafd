//! From records to figures: rates, quantiles, and means where a detector makes them mean something.

use serde::Serialize;

use super::bootstrap::{REPLICATES, Stratum, Tally, bootstrap};
use super::layers::Part;
use super::outcome::Outcome;
use super::ranges::Detector;
use super::record::Record;
use super::store::{LayerRow, Run};
use crate::{Error, Result};

/// The normal quantile of two-sided 95 %.
pub const Z95: f64 = 1.959963984540054;

/// A figure with its interval of 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// The score interval of Wilson (1927) for `successes` of `n`, both possibly effective (fractional)
/// numbers; `z` normal quantiles wide.
pub fn wilson(successes: f64, n: f64, z: f64) -> Estimate {
    let value = successes / n;
    let centre = (successes + z * z / 2.0) / (n + z * z);
    let half = z / (n + z * z) * (n * value * (1.0 - value) + z * z / 4.0).sqrt();
    let (low, high) = (centre - half, centre + half);
    // At the ends one bound is exact; rounding must not move it past the value.
    Estimate { value, low: low.clamp(0.0, value), high: high.clamp(value, 1.0) }
}

/// The `q`-quantile of sorted values: the smallest that at least a share `q` doesn't exceed. No
/// interpolation, which infinities would spoil.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
}

/// How layers count in a network-wide figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weighting {
    /// Every layer alike.
    Uniform,
    /// By output elements.
    Neurons,
    /// By multiply-accumulates.
    Macs,
}

impl Weighting {
    /// Every weighting.
    pub const ALL: [Weighting; 3] = [Weighting::Uniform, Weighting::Neurons, Weighting::Macs];

    /// The word in a table.
    pub const fn words(self) -> &'static str {
        match self {
            Weighting::Uniform => "layers alike",
            Weighting::Neurons => "neurons",
            Weighting::Macs => "MACs",
        }
    }

    /// A layer's weight.
    pub fn of(self, layer: &LayerRow) -> f64 {
        match self {
            Weighting::Uniform => 1.0,
            Weighting::Neurons => layer.neurons() as f64,
            Weighting::Macs => layer.macs as f64,
        }
    }
}

/// Which layers a network-wide figure runs over. The last layer counts once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Scope {
    /// Take the last layer after the scale, where the model has one, and not before it.
    pub after_scale: bool,
    /// Count the text-guided model's extra Linear.
    pub embedding: bool,
}

impl Scope {
    /// Everything, the last layer after the scale.
    pub const ALL: Scope = Scope { after_scale: true, embedding: true };

    /// Indices of the layers of a run.
    pub fn layers(self, run: &Run) -> Vec<usize> {
        let layers = &run.manifest.layers;
        let last = last_layer(run, self.after_scale);
        (0..layers.len())
            .filter(|index| match layers[*index].part {
                Part::Backbone => true,
                Part::Shared => false,
                Part::Embedding => self.embedding,
                Part::LastLayer | Part::AfterScale => Some(*index) == last,
            })
            .collect()
    }
}

/// The last layer of a run, before or after the scale; the same place where there is no scale.
pub fn last_layer(run: &Run, after_scale: bool) -> Option<usize> {
    let find = |part| run.manifest.layers.iter().position(|layer| layer.part == part);
    let before = find(Part::LastLayer);
    if after_scale && run.manifest.has_scale { find(Part::AfterScale) } else { before }
}

/// What is observed in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// ΔLoss; only means something under [`Detector::Range`]. NaN answers are left out, and their
    /// number is told ([`Rates::nonfinite`]).
    DeltaLoss,
    /// |Δp_label|, between 0 and 1.
    DeltaP,
    /// 1 for the outcome, 0 else: its mean is a rate.
    Is(Outcome),
    /// 1 where the golden top-1 left the top-5.
    Sdc5,
    /// 1 for SDC or nonfinite.
    SdcOrNonfinite,
}

impl Measure {
    /// The value of a record.
    pub fn of(self, record: &Record) -> f64 {
        let flag = |yes: bool| f64::from(u8::from(yes));
        match self {
            Measure::DeltaLoss => record.delta_loss(),
            Measure::DeltaP => record.delta_p(),
            Measure::Is(outcome) => flag(record.effect.outcome == outcome),
            Measure::Sdc5 => flag(record.effect.sdc5),
            Measure::SdcOrNonfinite => {
                flag(matches!(record.effect.outcome, Outcome::Sdc | Outcome::Nonfinite))
            }
        }
    }
}

/// Refuses means of ΔLoss without a detector: one flipped exponent bit can carry the whole mean.
pub fn check_mean(measure: Measure, detector: Detector) -> Result<()> {
    if measure == Measure::DeltaLoss && detector == Detector::None {
        return Err(Error::usage(
            "a mean of ΔLoss needs the range detector: without it one exponent bit carries the \
             mean; quantiles are given instead",
        ));
    }
    Ok(())
}

/// The observations of one layer under one detector, as a stratum of side `side`.
pub(super) fn observe(
    stratum: &mut Stratum,
    side: usize,
    run: &Run,
    layer: usize,
    detector: Detector,
    measure: Measure,
) {
    for record in run.of(layer, detector) {
        stratum.push(side, record.image, measure.of(record));
    }
}

/// The rates of one layer, or of all, with Wilson's intervals.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rates {
    pub records: u64,
    pub masked: Estimate,
    pub benign: Estimate,
    pub sdc: Estimate,
    pub nonfinite: Estimate,
    pub sdc_or_nonfinite: Estimate,
    pub sdc5: Estimate,
}

impl Rates {
    /// The rates of one layer's records: injections as independent trials.
    pub fn of<'a>(records: impl Iterator<Item = &'a Record> + Clone) -> Rates {
        let total = records.clone().count() as f64;
        let rate = |measure: Measure| {
            wilson(records.clone().map(|record| measure.of(record)).sum(), total, Z95)
        };
        Rates {
            records: total as u64,
            masked: rate(Measure::Is(Outcome::Masked)),
            benign: rate(Measure::Is(Outcome::Benign)),
            sdc: rate(Measure::Is(Outcome::Sdc)),
            nonfinite: rate(Measure::Is(Outcome::Nonfinite)),
            sdc_or_nonfinite: rate(Measure::SdcOrNonfinite),
            sdc5: rate(Measure::Sdc5),
        }
    }
}

/// Quantiles 50, 90, 99 and 99.9 % of ΔLoss; NaN answers (`nonfinite` of them) are left out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    pub values: [f64; 4],
    pub nonfinite: u64,
}

/// The quantiles of the ΔLoss of records.
pub fn delta_loss_quantiles<'a>(records: impl Iterator<Item = &'a Record>) -> Quantiles {
    let all: Vec<f64> = records.map(Record::delta_loss).collect();
    let mut finite: Vec<f64> = all.iter().copied().filter(|value| !value.is_nan()).collect();
    finite.sort_by(f64::total_cmp);
    let values = [0.5, 0.9, 0.99, 0.999].map(|q| quantile(&finite, q));
    Quantiles { values, nonfinite: (all.len() - finite.len()) as u64 }
}

/// The mean of a measure in one layer, with a bootstrap interval over images.
///
/// # Errors
/// A mean of ΔLoss without the range detector.
pub fn layer_mean(
    run: &Run,
    layer: usize,
    detector: Detector,
    measure: Measure,
    seed: u64,
) -> Result<Estimate> {
    network_mean(run, &[layer], detector, measure, Weighting::Uniform, seed)
}

/// The weighted mean of a measure over layers: Σ w·μ / Σ w, with a bootstrap interval over images
/// within layers. Layers without observations are left out of both sums.
///
/// A rate without a single event (or without a single miss) has no spread to resample; its interval
/// is Wilson's, with the effective number of trials (Σ w)² / Σ (w²/n) of stratified sampling.
///
/// # Errors
/// A mean of ΔLoss without the range detector.
pub fn network_mean(
    run: &Run,
    layers: &[usize],
    detector: Detector,
    measure: Measure,
    weighting: Weighting,
    seed: u64,
) -> Result<Estimate> {
    check_mean(measure, detector)?;
    let (mut strata, mut weights) = (Vec::new(), Vec::new());
    for index in layers {
        let layer = &run.manifest.layers[*index];
        let mut stratum = Stratum::new(stratum_key(layer));
        observe(&mut stratum, 0, run, *index, detector, measure);
        strata.push(stratum);
        weights.push(weighting.of(layer));
    }
    let estimate = bootstrap(&strata, seed, REPLICATES, |totals| {
        weighted_mean(totals.iter().map(|total| total[0]), &weights)
    });
    let is_rate = !matches!(measure, Measure::DeltaLoss | Measure::DeltaP);
    if is_rate && (estimate.value == 0.0 || estimate.value == 1.0) {
        let (mut sum, mut squares) = (0.0, 0.0);
        for (stratum, weight) in strata.iter().zip(&weights) {
            let count = stratum.total()[0].count;
            if count > 0.0 {
                sum += weight;
                squares += weight * weight / count;
            }
        }
        let effective = sum * sum / squares;
        return Ok(wilson(estimate.value * effective, effective, Z95));
    }
    Ok(estimate)
}

/// The label of a layer's random stream; before and after the scale are resampled alike.
pub(super) fn stratum_key(layer: &LayerRow) -> &str {
    &layer.pair_key
}

/// Σ w·mean / Σ w over the tallies that hold anything; NaN where none does.
pub(super) fn weighted_mean(tallies: impl Iterator<Item = Tally>, weights: &[f64]) -> f64 {
    let (mut sum, mut total) = (0.0, 0.0);
    for (tally, weight) in tallies.zip(weights) {
        if tally.count > 0.0 && *weight > 0.0 {
            sum += weight * tally.mean();
            total += weight;
        }
    }
    sum / total
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bounds by hand from the formula: 0 of 10 gives (0, z²/(n+z²)); 5 of 10 is symmetric,
    /// 0.5 ± z/(n+z²)·√(n/4 + z²/4); and the textbook case 81 of 263 gives (0.2553, 0.3662)
    /// (Newcombe, 1998, table I, method 3).
    #[test]
    fn wilson_gives_known_values() {
        let z2 = Z95 * Z95;
        let none = wilson(0.0, 10.0, Z95);
        assert_eq!((none.value, none.low), (0.0, 0.0));
        assert!((none.high - z2 / (10.0 + z2)).abs() < 1e-12);
        let half = wilson(5.0, 10.0, Z95);
        assert!((half.low + half.high - 1.0).abs() < 1e-12);
        assert!((half.high - 0.5 - Z95 / (10.0 + z2) * (2.5 + z2 / 4.0).sqrt()).abs() < 1e-12);
        let book = wilson(81.0, 263.0, Z95);
        assert!((book.low - 0.2553).abs() < 5e-5 && (book.high - 0.3662).abs() < 5e-5, "{book:?}");
        assert_eq!(wilson(7.0, 7.0, Z95).high, 1.0);
    }

    #[test]
    fn quantiles_are_order_statistics() {
        let values: Vec<f64> = (1..=1000).map(f64::from).collect();
        let at = [0.5, 0.9, 0.99, 0.999].map(|q| quantile(&values, q));
        assert_eq!(at, [500.0, 900.0, 990.0, 999.0]);
        assert_eq!(quantile(&[1.0, f64::INFINITY], 0.5), 1.0);
        assert_eq!(quantile(&[1.0, f64::INFINITY], 0.9), f64::INFINITY);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn means_are_weighted_by_layer() {
        let tally = |count, sum| Tally { count, sum };
        let tallies = [tally(2.0, 4.0), tally(0.0, 0.0), tally(4.0, 4.0)];
        let mean = weighted_mean(tallies.into_iter(), &[1.0, 5.0, 3.0]);
        assert_eq!(mean, (2.0 + 3.0) / 4.0);
    }
}
