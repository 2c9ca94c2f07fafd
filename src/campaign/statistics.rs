//! From records to figures: rates, quantiles, and means where a detector makes them mean something.
//!
//! Rates get Wilson's or Clopper and Pearson's interval, over strata (layers, and bits where a plan draws by
//! them) with an effective number of trials; means the bootstrap's. Given the images, all of them speak of
//! the same thing: what every fault of the class in these images would give.

use std::collections::BTreeMap;

use serde::Serialize;

use super::bootstrap::{Resampling, Stratum, Tally, Unit, bootstrap};
use super::interval::{Confidence, Estimate, RateInterval};
use super::layers::Part;
use super::outcome::Outcome;
use super::plan::Stratify;
use super::ranges::Detector;
use super::record::Record;
use super::store::{LayerRow, Run};
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
    /// Whether its mean is a rate.
    pub fn is_rate(self) -> bool {
        !matches!(self, Measure::DeltaLoss | Measure::DeltaP)
    }

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
        stratum.push(side, cell(run, record), unit.of(record), value, weight(run, record));
    }
}

/// Observations of a rate in one stratum: a layer, or a bit of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct RateCell {
    /// Sums of weights, of their squares, and of those with an event.
    weight: f64,
    squares: f64,
    events: f64,
}

impl RateCell {
    fn push(&mut self, event: f64, weight: f64) {
        self.weight += weight;
        self.squares += weight * weight;
        self.events += weight * event;
    }

    /// Trials, less what unequal weights cost (Kish, 1965).
    fn trials(&self) -> f64 {
        self.weight * self.weight / self.squares
    }

    fn rate(&self) -> f64 {
        self.events / self.weight
    }
}

/// A rate, and how many plain trials would know it as well.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Known {
    rate: f64,
    trials: f64,
}

impl Known {
    /// The rate of a layer: a mixture Σ share·rate of its cells, each of which was drawn in proportion to its
    /// share.
    ///
    /// The effective number of trials is p(1 − p)/V (Korn and Graubard, 1998), V being the variance of
    /// stratified sampling, Σ share²·p_c(1 − p_c)/n_c. Each p_c has been drawn towards p by one trial: cells
    /// that happen to be all alike aren't certain to be so.
    fn of_layer(cells: &[(f64, RateCell)]) -> Known {
        let rate: f64 = cells.iter().map(|(share, cell)| share * cell.rate()).sum();
        let drawn = |p: f64, n: f64| (n * p + rate) / (n + 1.0);
        let spread = |variance: &dyn Fn(f64, f64) -> f64| -> f64 {
            let of = |(share, cell): &(f64, RateCell)| {
                share * share * variance(cell.rate(), cell.trials()) / cell.trials()
            };
            cells.iter().map(of).sum()
        };
        let variance = spread(&|p, n| drawn(p, n) * (1.0 - drawn(p, n)));
        let trials = match rate * (1.0 - rate) / variance {
            trials if trials.is_finite() => trials,
            _ => 1.0 / spread(&|_, _| 1.0), // no event, or nothing else
        };
        Known { rate, trials }
    }

    /// Layers weighted by `shares`, whatever was drawn in each. Their effective number of trials is capped at
    /// Kish's (1965), 1/Σ(share²/n), which doesn't ask how rates differ: a heavy layer without an event would
    /// else pass for one that can have none.
    fn of_layers(layers: &[(f64, Known)]) -> Known {
        let rate: f64 = layers.iter().map(|(share, layer)| share * layer.rate).sum();
        let spread = |variance: &dyn Fn(f64) -> f64| -> f64 {
            let of = |(share, Known { rate, trials }): &(f64, Known)| {
                share * share * variance(*rate) / trials
            };
            layers.iter().map(of).sum()
        };
        let kish = 1.0 / spread(&|_| 1.0);
        let trials = match rate * (1.0 - rate) / spread(&|p| p * (1.0 - p)) {
            trials if trials.is_finite() => trials.min(kish),
            _ => kish,
        };
        Known { rate, trials }
    }

    fn estimate(&self, how: &Intervals) -> Estimate {
        how.rates.of(self.rate * self.trials, self.trials, how.confidence)
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
                layers.push((weight, Known::of_layer(&cells)));
            }
        }
        if layers.is_empty() {
            return how.rates.of(0.0, 0.0, how.confidence);
        }
        layers.iter_mut().for_each(|(share, _)| *share /= total);
        Known::of_layers(&layers).estimate(how)
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
    use super::super::interval::wilson;
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

    fn cell(trials: usize, events: usize) -> RateCell {
        let mut cell = RateCell::default();
        (0..trials).for_each(|i| cell.push(f64::from(u8::from(i < events)), 1.0));
        cell
    }

    /// One cell is a plain sample; cells of one rate are one sample of all their trials; cells without an
    /// event have 1 / Σ (share²/n) trials; and cells that differ make a narrower interval than one sample.
    #[test]
    fn cells_have_effective_trials() {
        let near = |cells: &[(f64, RateCell)], rate: f64, trials: f64| {
            let known = Known::of_layer(cells);
            let off = (known.rate - rate).abs() + (known.trials - trials).abs() / trials;
            assert!(off < 1e-12, "{known:?}");
        };
        near(&[(1.0, cell(50, 3))], 0.06, 50.0);
        near(&[(0.5, cell(40, 10)), (0.5, cell(40, 10))], 0.25, 80.0);
        let none = 1.0 / (0.75f64.powi(2) / 30.0 + 0.25f64.powi(2) / 50.0);
        near(&[(0.75, cell(30, 0)), (0.25, cell(50, 0))], 0.0, none);
        near(&[(1.0, cell(50, 50))], 1.0, 50.0);
        let apart = Known::of_layer(&[(0.5, cell(100, 1)), (0.5, cell(100, 99))]);
        assert!(apart.rate == 0.5 && apart.trials > 1000.0, "{apart:?}");
        // Weights that differ within a cell cost trials: (3·1 + 3·3)²/(3·1 + 3·9) of 6.
        let mut uneven = RateCell::default();
        [1.0, 1.0, 1.0, 3.0, 3.0, 3.0].into_iter().for_each(|weight| uneven.push(0.0, weight));
        assert!((uneven.trials() - 144.0 / 30.0).abs() < 1e-12);
    }

    /// A layer that weighs much and has hardly any event, and one that weighs little and has many: the
    /// interval doesn't forget what the first may hide.
    #[test]
    fn rates_of_unequal_layers_cover() {
        use crate::rng::{self, Draw};
        let how = Intervals::new(1);
        for rates in [[0.0005, 0.2], [0.002, 0.05], [0.1, 0.1]] {
            let truth = 0.95 * rates[0] + 0.05 * rates[1];
            let covered = (0..500).filter(|trial| {
                let mut draws = rng::stream(*trial, "unequal");
                let layer = rates.map(|rate| {
                    let events = (0..1000).filter(|_| draws.chance(rate)).count();
                    Known::of_layer(&[(1.0, cell(1000, events))])
                });
                let layers = [(0.95, layer[0]), (0.05, layer[1])];
                Known::of_layers(&layers).estimate(&how).holds(truth)
            });
            let covered = covered.count();
            assert!(covered >= 460, "{rates:?}: {covered} of 500");
        }
    }

    /// 32 bits of which six matter, as in a last layer: intervals of stratified draws cover the rate. 500
    /// trials have a standard error of 1 %.
    #[test]
    fn stratified_rates_cover() {
        use crate::rng::{self, Draw};
        let rates = [0.13, 0.13, 0.13, 0.13, 0.13, 0.54];
        let truth = rates.iter().sum::<f64>() / 32.0;
        let (mut covered, mut narrower) = (0, 0);
        for trial in 0..500 {
            let mut draws = rng::stream(trial, "stratified");
            let cells: Vec<(f64, RateCell)> = (0..32)
                .map(|bit| {
                    let mut cell = RateCell::default();
                    for _ in 0..10 {
                        let event = draws.chance(*rates.get(bit).unwrap_or(&0.0));
                        cell.push(f64::from(u8::from(event)), 1.0);
                    }
                    (1.0 / 32.0, cell)
                })
                .collect();
            let estimate = Known::of_layer(&cells).estimate(&Intervals::new(1));
            let plain = wilson(estimate.value * 320.0, 320.0, Confidence::P95.z());
            covered += usize::from(estimate.holds(truth));
            narrower += usize::from(estimate.high - estimate.low < plain.high - plain.low);
        }
        assert!((460..=490).contains(&covered), "{covered} of 500");
        assert_eq!(narrower, 500);
    }
}
