//! Rates and means of the records that a [`Selection`] names, with their intervals.
//!
//! Rates get Wilson's or Clopper and Pearson's interval, over strata (layers, and bits where a plan draws by
//! them) with an effective number of trials: they are about every possible fault in these images. Means get one
//! by linearization ([`estimate`]), about images like these too, unless injections are what varies. Where a rule
//! stopped the layers of a run, figures over several of them have an interval where that accounts for the stops:
//! the watched rate.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::scope::Weighting;
use super::stopping;
use crate::detector::Detector;
use crate::plan::Stratify;
use crate::results::{Measure, Outcome, Record, Run, unit_of};
use crate::statistics::{
    Confidence, EffectiveRate, Estimate, MeanFigure, RateCell, RateInterval, Stratum, Unit,
    estimate,
};
use crate::{Error, Result};

/// How intervals are made; 95 %, Wilson's and over images if nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Intervals {
    pub confidence: Confidence,
    /// Of rates.
    pub rates: RateInterval,
    /// What varies, for means and ratios.
    pub unit: Unit,
}

impl Intervals {
    /// The words in a table's footer.
    pub fn words(&self) -> String {
        format!(
            "Intervals hold {}: rates {}, of these images; means and ratios a t interval of their logarithm, {}.",
            self.confidence,
            self.rates.words(),
            match self.unit {
                Unit::Images => "of images like these",
                Unit::Injections => "of these images",
            },
        )
    }
}

/// Refuses means of ΔLoss without a detector: one flipped exponent bit can carry the whole mean.
pub fn check_mean(measure: Measure, detector: Detector) -> Result<()> {
    use Measure::{DeltaLoss, DeltaLossAt, DeltaLossOfAll};
    let is_loss = matches!(measure, DeltaLoss | DeltaLossAt(_) | DeltaLossOfAll);
    if is_loss && !detector.bounds_the_mean() {
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
    match &run.manifest.plan.stratify {
        Stratify::Bit | Stratify::Allocated(_) => record.mask().map_or(0, u32::trailing_zeros),
        Stratify::No => 0,
    }
}

/// Fewest injections for each bit that there is. A few bits carry a mean, the exponent's highest half of it:
/// with fewer draws of each, no interval holds what it says (`examples/coverage`). Which bits are drawn has
/// nothing to do with what they do, so that asking for some of each favours no answer.
pub(super) const FEWEST_OF_A_BIT: usize = 12;

/// Bits of an f32, where it isn't known which a fault flipped.
const ALL_BITS: usize = 32;

/// Whether records are enough for the interval of a mean.
pub(super) fn are_enough<'a>(records: impl Iterator<Item = &'a Record>) -> bool {
    let (mut count, mut masks) = (0, BTreeSet::new());
    for record in records {
        count += 1;
        masks.insert(record.mask().filter(|mask| mask.count_ones() == 1));
    }
    let bits = if masks.contains(&None) { ALL_BITS } else { masks.len() };
    count >= FEWEST_OF_A_BIT * bits
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

/// What is counted of a layer, where it stands in for the layer's records: in ΔLoss under the range detector.
pub(super) fn counted(
    run: &Run,
    layer: usize,
    detector: Detector,
    measure: Measure,
) -> Option<&[(usize, f64)]> {
    let place = match measure {
        _ if detector != Detector::Range => None,
        Measure::DeltaLoss => Some(0),
        Measure::DeltaLossAt(place) => Some(place + 1),
        _ => None,
    };
    run.counted.of(layer, place?)
}

/// What was counted of a layer's images, as a stratum's side `side`. Where only injections vary, none of which is left to
/// chance here, every image has the mean of all.
pub(super) fn observe_counted(
    stratum: &mut Stratum,
    side: usize,
    images: &[(usize, f64)],
    unit: Unit,
) {
    let finite = || images.iter().map(|(_, mean)| *mean).filter(|mean| mean.is_finite());
    let of_all = finite().sum::<f64>() / finite().count() as f64;
    for (image, mean) in images.iter().filter(|(_, mean)| mean.is_finite()) {
        let value = if unit == Unit::Injections { of_all } else { *mean };
        stratum.push(side, 0, *image as u64, value, 1.0);
    }
}

/// Observations of a layer's records, `KINDS` of each, sorted into cells, each with its share of the layer.
pub(super) fn rate_cells<'a, const KINDS: usize>(
    run: &Run,
    observed: impl Iterator<Item = (&'a Record, [f64; KINDS])>,
) -> Vec<(f64, [RateCell; KINDS])> {
    let mut cells = BTreeMap::<u32, [RateCell; KINDS]>::new();
    for (record, events) in observed {
        let weight = weight(run, record);
        let of = cells.entry(cell(run, record)).or_insert([RateCell::default(); KINDS]);
        of.iter_mut().zip(events).for_each(|(cell, event)| cell.push(event, weight));
    }
    let cells = joined(cells.into_values());
    let total: f64 = cells.iter().map(|cell| cell[0].weight).sum();
    cells.into_iter().map(|cell| (cell[0].weight / total, cell)).collect()
}

/// Cells of fewer records are joined with the next: they say too little of a rate's spread.
const FEWEST_OF_A_CELL: f64 = FEWEST_OF_A_BIT as f64;

/// Neighbouring cells as one, until each has enough records.
fn joined<const KINDS: usize>(
    cells: impl Iterator<Item = [RateCell; KINDS]>,
) -> Vec<[RateCell; KINDS]> {
    let mut all: Vec<[RateCell; KINDS]> = Vec::new();
    let is_small = |cell: &[RateCell; KINDS]| cell[0].trials() < FEWEST_OF_A_CELL;
    let join = |of: &mut [RateCell; KINDS], with: [RateCell; KINDS]| {
        of.iter_mut().zip(with).for_each(|(cell, with)| cell.join(with));
    };
    for cell in cells {
        match all.last_mut().filter(|last| is_small(last)) {
            Some(last) => join(last, cell),
            None => all.push(cell),
        }
    }
    if all.len() > 1
        && let Some(last) = all.pop_if(|last| is_small(last))
        && let Some(before) = all.last_mut()
    {
        join(before, last);
    }
    all
}

/// The cells of one kind of observation.
pub(super) fn only(cells: &[(f64, [RateCell; 1])]) -> Vec<(f64, RateCell)> {
    cells.iter().map(|(share, [cell])| (*share, *cell)).collect()
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
type RecordFilter<'r> = Box<dyn Fn(&Record) -> bool + 'r>;

/// A selection of a run's records.
pub struct Selection<'r> {
    run: &'r Run,
    layers: Vec<usize>,
    detector: Detector,
    weighting: Weighting,
    keep: Option<RecordFilter<'r>>,
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

    /// What is counted of a layer, where that says more than the records: of all that faults hit.
    fn counted(&self, layer: usize, measure: Measure) -> Option<&'r [(usize, f64)]> {
        counted(self.run, layer, self.detector, measure).filter(|_| self.keep.is_none())
    }

    /// Whether a mean of ΔLoss of these records is of faults that were counted, none of them drawn.
    pub fn is_counted(&self) -> bool {
        !self.layers.is_empty() && self.counted_layers() == self.layers.len()
    }

    /// How many of the layers are counted.
    pub(super) fn counted_layers(&self) -> usize {
        let is_counted = |layer: &&usize| self.counted(**layer, Measure::DeltaLoss).is_some();
        self.layers.iter().filter(is_counted).count()
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

    /// Whether these are several layers that a rule stopped.
    fn is_stopped_network(&self) -> bool {
        stopping::stops(self.run) && self.layers.len() > 1
    }

    /// A rate of each layer that has records and a weight, with the layer's place among the selection's and its share
    /// of the weight; and whether the rates are free of what a stopping rule does to them, or there is no such rule.
    pub(super) fn layer_rates(&self, measure: Measure) -> (Vec<(usize, f64, EffectiveRate)>, bool) {
        let unbiased = match self.is_stopped_network() && self.keep.is_none() {
            true => stopping::unbiased_rates(self.run, &self.layers, self.detector, measure),
            false => None,
        };
        let (mut layers, mut total) = (Vec::new(), 0.0);
        for (place, layer) in self.layers.iter().enumerate() {
            let observed = self.of(*layer).map(|record| (record, [measure.of(record)]));
            let cells = rate_cells(self.run, observed);
            let weight = self.weight(*layer);
            if !cells.is_empty() && weight > 0.0 {
                total += weight;
                let plain = || EffectiveRate::of_layer(&only(&cells));
                layers.push((place, weight, unbiased.as_ref().map_or_else(plain, |of| of[place])));
            }
        }
        layers.iter_mut().for_each(|(_, share, _)| *share /= total);
        (layers, !self.is_stopped_network() || unbiased.is_some())
    }

    fn rate(&self, measure: Measure, how: &Intervals) -> Estimate {
        let (layers, is_unbiased) = self.layer_rates(measure);
        if layers.is_empty() {
            return how.rates.of(0.0, 0.0, how.confidence);
        }
        let layers: Vec<_> = layers.into_iter().map(|(_, share, rate)| (share, rate)).collect();
        let estimate = EffectiveRate::of_layers(&layers).estimate(how.rates, how.confidence);
        if is_unbiased { estimate } else { Estimate::alone(estimate.value) }
    }

    /// The weighted mean Σ w·μ / Σ w of a measure over the layers; layers without observations are left out
    /// of both sums. A layer that was counted has the mean over its images. A rate has a rate's interval. Another
    /// mean has none where a layer that counts has too few records of each bit.
    ///
    /// # Errors
    /// A mean of ΔLoss without the range detector.
    pub fn mean(&self, measure: Measure, how: &Intervals) -> Result<Estimate> {
        check_mean(measure, self.detector)?;
        if measure.is_rate() {
            return Ok(self.rate(measure, how));
        }
        let (mut strata, mut weights, mut are_all_enough) = (Vec::new(), Vec::new(), true);
        for layer in &self.layers {
            let mut stratum = Stratum::new(group_of(how.unit, 0, *layer));
            let weight = self.weight(*layer);
            if let Some(images) = self.counted(*layer, measure) {
                observe_counted(&mut stratum, 0, images, how.unit);
            } else {
                observe(&mut stratum, 0, self.run, self.of(*layer), measure, how.unit);
                let counts = weight > 0.0 && self.of(*layer).next().is_some();
                are_all_enough &= !counts || are_enough(self.of(*layer));
            }
            strata.push(stratum);
            weights.push([weight, 0.0]);
        }
        let strata: Vec<&Stratum> = strata.iter().collect();
        let mean = estimate(MeanFigure::Mean, &strata, &weights, how.confidence);
        if !are_all_enough || self.is_stopped_network() {
            return Ok(Estimate::alone(mean.value));
        }
        Ok(match measure {
            // A bounded measure that was always 0 has the upper end of a rate.
            Measure::DeltaP if mean.value == 0.0 => self.rate(measure, how),
            // And none is larger; NaN stays what it is.
            Measure::DeltaP if mean.high > 1.0 => Estimate { high: 1.0, ..mean },
            _ => mean,
        })
    }
}

/// Which strata's clusters are the same: those of one set of images, or, where injections vary, none's.
pub(super) fn group_of(unit: Unit, images: u64, layer: usize) -> u64 {
    match unit {
        Unit::Images => images,
        Unit::Injections => layer as u64,
    }
}
