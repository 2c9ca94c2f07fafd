//! Rates and means of the records that a [`Selection`] names, with their intervals.
//!
//! Rates get Wilson's or Clopper and Pearson's interval, over strata (layers, and bits where a plan draws by
//! them) with an effective number of trials; means the bootstrap's. Given the images, all of them estimate
//! the same thing: the figure over every possible fault in these images.

use std::collections::BTreeMap;

use serde::Serialize;

use super::scope::Weighting;
use crate::detector::Detector;
use crate::plan::Stratify;
use crate::results::{LayerRow, Measure, Outcome, Record, Run, unit_of};
use crate::statistics::{
    Confidence, EffectiveRate, Estimate, RateCell, RateInterval, Resampling, Stratum, Tally, Unit,
    bootstrap,
};
use crate::{Error, Result};

/// The fewest units (images or injections) of a layer for whose mean a bootstrap's interval is given; of several
/// layers, all units but one of each count. Of n units n − 1 are drawn, in any of C(2n − 2, n − 1) ways: 3,432 of
/// eight units are the first to be more than the 2,000 replicates of an interval of 95 %, of seven only 924,
/// whose ends are no quantiles.
pub const FEWEST_UNITS: usize = 8;

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

    /// The settings of the bootstrap.
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

/// Refuses means of ΔLoss without a detector: one flipped exponent bit can carry the whole mean.
pub fn check_mean(measure: Measure, detector: Detector) -> Result<()> {
    if measure == Measure::DeltaLoss && !detector.bounds_the_mean() {
        return Err(Error::usage(
            "a mean of ΔLoss needs a detector that bounds it, as range does: without one an exponent bit carries the \
             mean; quantiles are given instead",
        ));
    }
    Ok(())
}

/// The weight of a record; 1 on average.
fn weight(run: &Run, record: &Record) -> f64 {
    run.manifest.weight(record)
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

/// Whether a record is selected.
type Keep<'r> = Box<dyn Fn(&Record) -> bool + 'r>;

/// A selection of a run's records.
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

    /// Those of the records that `keep` returns true for.
    pub fn only(self, keep: impl Fn(&Record) -> bool + 'r) -> Self {
        Selection { keep: Some(Box::new(keep)), ..self }
    }

    pub(super) fn layers(&self) -> &[usize] {
        &self.layers
    }

    /// The records of one of the layers.
    pub(super) fn of(&self, layer: usize) -> impl Iterator<Item = &'r Record> {
        let records = self.run.of(layer, self.detector);
        records.filter(|record| self.keep.as_ref().is_none_or(|keep| keep(record)))
    }

    /// Every record.
    pub fn records(&self) -> impl Iterator<Item = &'r Record> {
        self.layers.iter().flat_map(|layer| self.of(*layer))
    }

    pub(super) fn weight(&self, layer: usize) -> f64 {
        self.weighting.of(&self.run.manifest.layers[layer])
    }

    pub(super) fn weight_of(&self, record: &Record) -> f64 {
        weight(self.run, record)
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
    /// of both sums. A rate has a rate's interval, everything else a bootstrap's within layers, where there
    /// are [`FEWEST_UNITS`].
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
        // One of each layer is fixed by the others and the mean.
        let spread: usize = strata.iter().map(|stratum| stratum.units().saturating_sub(1)).sum();
        if spread + 1 < FEWEST_UNITS {
            let totals: Vec<[Tally; 2]> = strata.iter().map(Stratum::total).collect();
            return Ok(Estimate { value: figure(&totals)[0], low: f64::NAN, high: f64::NAN });
        }
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
    fn means_are_weighted_by_layer() {
        let tally = |weight, sum| Tally { weight, sum };
        let tallies = [tally(2.0, 4.0), tally(0.0, 0.0), tally(4.0, 4.0)];
        let mean = weighted_mean(tallies.into_iter(), &[1.0, 5.0, 3.0]);
        assert_eq!(mean, (2.0 + 3.0) / 4.0);
    }
}
