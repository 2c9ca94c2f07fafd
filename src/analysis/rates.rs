//! From records to figures: rates, quantiles, and means where a detector makes them mean something.
//!
//! Rates get Wilson's or Clopper and Pearson's interval, over strata (layers, and bits where a plan draws by
//! them) with an effective number of trials; means the bootstrap's. Given the images, all of them speak of
//! the same thing: what every fault of the class in these images would give.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::detector::Detector;
use crate::plan::Stratify;
use crate::results::{LayerRow, Measure, Outcome, Part, Record, Run, unit_of};
use crate::statistics::{
    Confidence, EffectiveRate, Estimate, RateCell, RateInterval, Resampling, Stratum, Tally, Unit,
    bootstrap,
};
use crate::{Error, Result};

/// How intervals are made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Intervals {
    pub confidence: Confidence,
    /// Of rates.
    pub rates: RateInterval,
    /// What the bootstrap of means and ratios resamples.
    pub unit: Unit,
    /// Of the bootstrap.
    pub seed: u64,
}

impl Intervals {
    /// 95 %, Wilson's, a bootstrap over images.
    pub fn new(seed: u64) -> Intervals {
        Intervals {
            confidence: Confidence::P95,
            rates: RateInterval::default(),
            unit: Unit::default(),
            seed,
        }
    }

    /// What the bootstrap is told.
    pub fn resampling(&self) -> Resampling {
        Resampling::new(self.confidence, self.seed)
    }

    /// The words in a table's footer.
    pub fn words(&self) -> String {
        format!(
            "Intervals hold {}: rates {}, means and ratios a bootstrap's (BCa) over {}.",
            self.confidence,
            self.rates.words(),
            self.unit.name(),
        )
    }
}

/// The `q`-quantile of sorted values: the smallest that at least a share `q` doesn't exceed. No
/// interpolation, which infinities would spoil.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
}

/// How layers count in a network-wide figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
    /// Take the last layer after the scale, where the run has faults there, and not before it; elsewhere
    /// before it.
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
        // Inputs, weights, hooks and some choices of layers have no place after the scale.
        let last = last_layer(run, self.after_scale).or_else(|| last_layer(run, false));
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

/// Refuses means of ΔLoss without a detector: one flipped exponent bit can carry the whole mean.
pub fn check_mean(measure: Measure, detector: Detector) -> Result<()> {
    if measure == Measure::DeltaLoss && !detector.bounds_the_mean() {
        return Err(Error::usage(
            "a mean of ΔLoss needs the range detector: without it one exponent bit carries the \
             mean; quantiles are given instead",
        ));
    }
    Ok(())
}

/// How much a record counts; on average 1.
fn weight(run: &Run, record: &Record) -> f64 {
    run.manifest.plan.weight(record.n)
}

/// What the draws of a record's layer were stratified by: its bit, or nothing.
fn cell(run: &Run, record: &Record) -> u32 {
    match run.manifest.plan.stratify {
        Stratify::Bit => record.mask().map_or(0, u32::trailing_zeros),
        Stratify::No => 0,
    }
}

/// Records of a layer, as a stratum's side `side`.
pub(super) fn observe<'a>(
    stratum: &mut Stratum,
    side: usize,
    run: &Run,
    records: impl Iterator<Item = &'a Record>,
    measure: Measure,
    unit: Unit,
) {
    for record in records {
        let value = measure.of(record);
        stratum.push(side, cell(run, record), unit_of(unit, record), value, weight(run, record));
    }
}

/// The rates of some records.
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

/// Whether a record is looked at.
type Keep<'r> = Box<dyn Fn(&Record) -> bool + 'r>;

/// Records of a run that are looked at together.
pub struct Selection<'r> {
    run: &'r Run,
    layers: Vec<usize>,
    detector: Detector,
    weighting: Weighting,
    keep: Option<Keep<'r>>,
}

/// Every record of `layers` (indices into the run's) under a detector, layers weighted alike.
pub fn select(run: &Run, layers: Vec<usize>, detector: Detector) -> Selection<'_> {
    Selection { run, layers, detector, weighting: Weighting::Uniform, keep: None }
}

impl<'r> Selection<'r> {
    /// The same records with layers weighted otherwise.
    pub fn weighted(self, weighting: Weighting) -> Self {
        Selection { weighting, ..self }
    }

    /// Those that `keep` says.
    pub fn only(self, keep: impl Fn(&Record) -> bool + 'r) -> Self {
        Selection { keep: Some(Box::new(keep)), ..self }
    }

    /// The records of one of the layers.
    fn of(&self, layer: usize) -> impl Iterator<Item = &'r Record> {
        let records = self.run.of(layer, self.detector);
        records.filter(|record| self.keep.as_ref().is_none_or(|keep| keep(record)))
    }

    /// Every record.
    pub fn records(&self) -> impl Iterator<Item = &'r Record> {
        self.layers.iter().flat_map(|layer| self.of(*layer))
    }

    fn weight(&self, layer: usize) -> f64 {
        self.weighting.of(&self.run.manifest.layers[layer])
    }

    /// All rates, with intervals.
    pub fn rates(&self, how: &Intervals) -> Rates {
        let rate = |measure| self.rate(measure, how);
        Rates {
            records: self.records().count() as u64,
            masked: rate(Measure::Is(Outcome::Masked)),
            benign: rate(Measure::Is(Outcome::Benign)),
            sdc: rate(Measure::Is(Outcome::Sdc)),
            nonfinite: rate(Measure::Is(Outcome::Nonfinite)),
            sdc_or_nonfinite: rate(Measure::SdcOrNonfinite),
            sdc5: rate(Measure::Sdc5),
        }
    }

    fn rate(&self, measure: Measure, how: &Intervals) -> Estimate {
        let (mut layers, mut total) = (Vec::new(), 0.0);
        for layer in &self.layers {
            let (cells, weight) = (self.rate_cells(*layer, measure), self.weight(*layer));
            if !cells.is_empty() && weight > 0.0 {
                total += weight;
                layers.push((weight, EffectiveRate::of_layer(&cells)));
            }
        }
        if layers.is_empty() {
            return how.rates.of(0.0, 0.0, how.confidence);
        }
        layers.iter_mut().for_each(|(share, _)| *share /= total);
        EffectiveRate::of_layers(&layers).estimate(how.rates, how.confidence)
    }

    /// A layer's records, sorted into cells, each with its share of the layer.
    fn rate_cells(&self, layer: usize, measure: Measure) -> Vec<(f64, RateCell)> {
        let mut cells = BTreeMap::<u32, RateCell>::new();
        for record in self.of(layer) {
            let (cell, weight) = (cell(self.run, record), weight(self.run, record));
            cells.entry(cell).or_default().push(measure.of(record), weight);
        }
        let total: f64 = cells.values().map(|cell| cell.weight).sum();
        cells.into_values().map(|cell| (cell.weight / total, cell)).collect()
    }

    /// The weighted mean Σ w·μ / Σ w of a measure over the layers; layers without observations are left out
    /// of both sums. A rate has a rate's interval, everything else a bootstrap's within layers.
    ///
    /// # Errors
    /// A mean of ΔLoss without the range detector.
    pub fn mean(&self, measure: Measure, how: &Intervals) -> Result<Estimate> {
        check_mean(measure, self.detector)?;
        if measure.is_rate() {
            return Ok(self.rate(measure, how));
        }
        let (mut strata, mut weights) = (Vec::new(), Vec::new());
        for layer in &self.layers {
            let mut stratum = Stratum::new(stratum_key(&self.run.manifest.layers[*layer]));
            observe(&mut stratum, 0, self.run, self.of(*layer), measure, how.unit);
            strata.push(stratum);
            weights.push(self.weight(*layer));
        }
        let figure = |totals: &[[Tally; 2]]| {
            vec![weighted_mean(totals.iter().map(|total| total[0]), &weights)]
        };
        Ok(bootstrap(&strata, &how.resampling(), figure)[0])
    }
}

/// The label of a layer's random stream; before and after the scale are resampled alike.
pub(super) fn stratum_key(layer: &LayerRow) -> &str {
    &layer.pair_key
}

/// Σ w·mean / Σ w over the tallies that hold anything; NaN where none does.
pub(super) fn weighted_mean(tallies: impl Iterator<Item = Tally>, weights: &[f64]) -> f64 {
    let (mut sum, mut total) = (0.0, 0.0);
    for (tally, weight) in tallies.zip(weights) {
        if tally.weight > 0.0 && *weight > 0.0 {
            sum += weight * tally.mean();
            total += weight;
        }
    }
    sum / total
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let tally = |weight, sum| Tally { weight, sum };
        let tallies = [tally(2.0, 4.0), tally(0.0, 0.0), tally(4.0, 4.0)];
        let mean = weighted_mean(tallies.into_iter(), &[1.0, 5.0, 3.0]);
        assert_eq!(mean, (2.0 + 3.0) / 4.0);
    }
}
