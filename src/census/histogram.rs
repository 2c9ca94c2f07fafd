//! Counts and sums over all faults, by unit and bit, and logarithmic bins of ΔLoss.

use std::ops::Range;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::answer::Faulty;
use crate::Result;
use crate::detector::Detector;
use crate::logits::Score;
use crate::results::Outcome;

/// Bits of an f32.
pub const BITS: usize = 32;
/// ΔLoss below 2 to this power, 0 included, is one bin: differences of two f64 losses mean nothing
/// there.
const LOWEST: i32 = -40;
/// Octaves above that: the largest loss is less than 2^130.
const OCTAVES: usize = 170;
/// log₂ of the fine bins of an octave.
const PARTS_LOG2: usize = 3;
/// Fine bins.
const BINS: usize = 1 + (OCTAVES << PARTS_LOG2);

/// The fine bin of a ΔLoss that isn't NaN.
fn bin_of(delta_loss: f64) -> usize {
    // Exponent and first bits of the mantissa, as one number.
    let place = (delta_loss.to_bits() >> (52 - PARTS_LOG2)) as usize;
    let lowest = ((1023 + LOWEST) as usize) << PARTS_LOG2;
    (place + 1).saturating_sub(lowest).min(BINS - 1)
}

/// Where a fine bin starts and ends.
fn edges_of(bin: usize) -> [f64; 2] {
    let edge = |bin: usize| {
        let (octave, part) = (bin >> PARTS_LOG2, bin & ((1 << PARTS_LOG2) - 1));
        let parts = f64::from(1 << PARTS_LOG2);
        2f64.powi(LOWEST + octave as i32) * (1.0 + part as f64 / parts)
    };
    if bin == 0 { [0.0, edge(0)] } else { [edge(bin - 1), edge(bin)] }
}

/// The octave of a fine bin: 0 for what lies below them all.
fn octave_of(bin: usize) -> usize {
    (bin + (1 << PARTS_LOG2) - 1) >> PARTS_LOG2
}

/// Which faults [`FaultCounts::sdc5`] counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sdc5 {
    /// Nonfinite answers, too: by the numbers of classes, since NaN stands first. So stores have it that don't
    /// say.
    #[default]
    WithNonfinite,
    /// SDC alone, of which SDC-5 is a part.
    OfSdc,
}

/// Faults of one kind, counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultCounts {
    /// In the order of [`Outcome`].
    pub outcomes: [u64; 4],
    /// Golden top-1 not among the faulty top-5; of which faults, [`Sdc5`] says.
    pub sdc5: u64,
    /// Faults with a ΔLoss: both answers finite.
    pub measured: u64,
    /// Sums over those: ΔLoss in nats, |Δp_label|, and the faulty answer's Top2Diff in percentage
    /// points.
    pub delta_loss: f64,
    pub delta_p: f64,
    pub top2diff: f64,
    /// Faults with a ΔLoss by octave, ascending, empty ones left out: see [`octave_edges`].
    pub octaves: Vec<(u8, u64)>,
}

/// Where an octave of [`FaultCounts::octaves`] starts and ends, in nats.
pub fn octave_edges(octave: u8) -> [f64; 2] {
    match usize::from(octave) {
        0 => edges_of(0),
        octave => {
            let last = octave << PARTS_LOG2;
            [edges_of(last + 1 - (1 << PARTS_LOG2))[0], edges_of(last)[1]]
        }
    }
}

impl FaultCounts {
    /// Faults.
    pub fn faults(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    /// Faults with an outcome.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    fn count_one(&mut self, golden: &Score, faulty: &Faulty) -> Option<f64> {
        self.outcomes[faulty.outcome as usize] += 1;
        self.sdc5 += u64::from(faulty.is_sdc5());
        let delta_loss = (golden.loss - faulty.score.loss).abs();
        if delta_loss.is_nan() {
            return None;
        }
        self.measured += 1;
        self.delta_loss += delta_loss;
        self.delta_p += (golden.p_label - faulty.score.p_label).abs();
        self.top2diff += faulty.score.top2diff;
        Some(delta_loss)
    }

    /// Adds counts and sums; octaves are left alone.
    fn add(&mut self, other: &FaultCounts) {
        for (sum, count) in self.outcomes.iter_mut().zip(other.outcomes) {
            *sum += count;
        }
        self.sdc5 += other.sdc5;
        self.measured += other.measured;
        self.delta_loss += other.delta_loss;
        self.delta_p += other.delta_p;
        self.top2diff += other.top2diff;
    }

    fn add_octaves(&mut self, bins: &[u32]) {
        let mut octaves = [0u64; OCTAVES + 1];
        for (octave, count) in &self.octaves {
            octaves[usize::from(*octave)] = *count;
        }
        for (bin, count) in bins.iter().enumerate() {
            octaves[octave_of(bin)] += u64::from(*count);
        }
        let filled = octaves.iter().enumerate().filter(|(_, count)| **count > 0);
        self.octaves = filled.map(|(octave, count)| (octave as u8, *count)).collect();
    }
}

/// Some faults as figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FaultSummary {
    pub faults: u64,
    pub nonfinite: u64,
    pub masked: u64,
    pub sdc: u64,
    pub benign: u64,
    /// `None` where the store counted nonfinite answers, too, and there are some.
    pub sdc5: Option<u64>,
    /// Mean ΔLoss in nats over the faults whose answers are finite; `None` without the range detector, where one
    /// exponent bit would carry it.
    pub delta_loss: Option<f64>,
    /// Mean |Δp_label| over all faults, 1 where the answer isn't finite.
    pub delta_p: f64,
    /// Mean Top2Diff after the fault in percentage points, over the faults whose answers are finite.
    pub top2diff: f64,
    /// ΔLoss at 50, 90, 99 and 99.9 % of all faults: the geometric middle of a bin whose ends are within 12.5 %
    /// of each other; 0 below 10⁻¹²; infinite among answers that aren't finite.
    pub quantiles: [f64; 4],
}

impl FaultSummary {
    fn new(cell: &FaultCounts, counted: Sdc5, detector: Detector, bins: &[u64]) -> FaultSummary {
        let mean = |sum: f64| sum / cell.measured as f64;
        let (faults, nonfinite) = (cell.faults(), cell.count(Outcome::Nonfinite));
        let is_of_sdc = counted == Sdc5::OfSdc || nonfinite == 0;
        FaultSummary {
            faults,
            nonfinite,
            masked: cell.count(Outcome::Masked),
            sdc: cell.count(Outcome::Sdc),
            benign: cell.count(Outcome::Benign),
            sdc5: is_of_sdc.then_some(cell.sdc5),
            delta_loss: detector.bounds_the_mean().then(|| mean(cell.delta_loss)),
            delta_p: (cell.delta_p + nonfinite as f64) / (cell.measured + nonfinite) as f64,
            top2diff: mean(cell.top2diff),
            quantiles: [0.5, 0.9, 0.99, 0.999].map(|q| quantile(bins, nonfinite, q)),
        }
    }

    /// Faults with an outcome.
    pub fn count(&self, outcome: Outcome) -> u64 {
        match outcome {
            Outcome::Nonfinite => self.nonfinite,
            Outcome::Masked => self.masked,
            Outcome::Sdc => self.sdc,
            Outcome::Benign => self.benign,
        }
    }

    /// The share of the faults with an outcome.
    pub fn rate(&self, outcome: Outcome) -> f64 {
        self.count(outcome) as f64 / self.faults as f64
    }
}

/// As [`crate::analysis::quantile`], of values that are known by their bins, and `infinite` that are infinite.
fn quantile(bins: &[u64], infinite: u64, q: f64) -> f64 {
    let total: u64 = bins.iter().sum::<u64>() + infinite;
    let rank = ((q * total as f64).ceil() as u64).clamp(1, total.max(1));
    let mut seen = 0;
    let bin = bins.iter().position(|count| {
        seen += count;
        seen >= rank
    });
    match bin {
        Some(0) => 0.0,
        Some(bin) => edges_of(bin).map(f64::sqrt).iter().product(),
        None if infinite > 0 => f64::INFINITY,
        None => f64::NAN,
    }
}

/// Every fault of one place: by unit (the class of a logit or of a row of weights, or the feature),
/// detector and bit.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// What is hit: a layer's output, a parameter, a value.
    pub place: String,
    pub units: usize,
    pub detectors: Vec<Detector>,
    /// What cells have of SDC-5.
    pub sdc5: Sdc5,
    /// Units × detectors × bits.
    cells: Vec<FaultCounts>,
    /// Detectors × bits × [`BINS`].
    bins: Vec<u64>,
}

impl Histogram {
    /// An empty one.
    pub fn new(place: &str, units: usize, detectors: &[Detector]) -> Histogram {
        Histogram {
            place: place.into(),
            units,
            detectors: detectors.to_vec(),
            sdc5: Sdc5::OfSdc,
            cells: vec![FaultCounts::default(); units * detectors.len() * BITS],
            bins: vec![0; detectors.len() * BITS * BINS],
        }
    }

    /// The faults of one bit of a unit; `detector` is a place in [`Histogram::detectors`].
    pub fn cell(&self, unit: usize, detector: usize, bit: usize) -> &FaultCounts {
        &self.cells[(unit * self.detectors.len() + detector) * BITS + bit]
    }

    /// All faults of some bits.
    pub fn of_bits(&self, detector: usize, bits: Range<usize>) -> FaultSummary {
        let (mut sum, mut bins) = (FaultCounts::default(), vec![0u64; BINS]);
        for bit in bits {
            (0..self.units).for_each(|unit| sum.add(self.cell(unit, detector, bit)));
            for (bin, count, _) in self.numbered_bins(detector, bit) {
                bins[bin] += count;
            }
        }
        FaultSummary::new(&sum, self.sdc5, self.detectors[detector], &bins)
    }

    /// All faults: the population that a campaign draws from.
    pub fn total(&self, detector: usize) -> FaultSummary {
        self.of_bits(detector, 0..BITS)
    }

    /// The bins of a bit that hold faults: start and end in nats, and how many.
    pub fn bins(&self, detector: usize, bit: usize) -> impl Iterator<Item = ([f64; 2], u64)> {
        self.numbered_bins(detector, bit).map(|(_, count, edges)| (edges, count))
    }

    fn numbered_bins(
        &self,
        detector: usize,
        bit: usize,
    ) -> impl Iterator<Item = (usize, u64, [f64; 2])> {
        let bins = &self.bins[(detector * BITS + bit) * BINS..][..BINS];
        let filled = bins.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(|(bin, count)| (bin, *count, edges_of(bin)))
    }

    /// Puts a cell in its place, with the octaves that it has; `None` where there is no such place.
    pub(super) fn put_cell(
        &mut self,
        [unit, detector, bit]: [usize; 3],
        cell: FaultCounts,
    ) -> Option<()> {
        *self.cell_mut([unit, detector, bit])? = cell;
        Some(())
    }

    /// Puts the faults of an octave, by its lower edge, into a cell.
    pub(super) fn put_octave(
        &mut self,
        [unit, detector, bit]: [usize; 3],
        low: f64,
        faults: u64,
    ) -> Option<()> {
        let octaves = &mut self.cell_mut([unit, detector, bit])?.octaves;
        octaves.push((octave_of(bin_of(low)) as u8, faults));
        octaves.sort_by_key(|(octave, _)| *octave);
        Some(())
    }

    fn cell_mut(&mut self, [unit, detector, bit]: [usize; 3]) -> Option<&mut FaultCounts> {
        let is_there = unit < self.units && detector < self.detectors.len() && bit < BITS;
        is_there.then(|| &mut self.cells[(unit * self.detectors.len() + detector) * BITS + bit])
    }

    /// Puts the faults of a bin, by its lower edge, in their place.
    pub(super) fn put_bin(
        &mut self,
        [detector, bit]: [usize; 2],
        low: f64,
        faults: u64,
    ) -> Option<()> {
        (low >= 0.0 && detector < self.detectors.len() && bit < BITS).then_some(())?;
        self.bins[(detector * BITS + bit) * BINS + bin_of(low)] = faults;
        Some(())
    }

    /// Adds faults, units side by side on every core: `task(unit, tally)` counts those of one unit.
    /// Since a unit is one task's, sums are in the task's order, whatever the number of threads.
    ///
    /// # Errors
    /// The first of the tasks' errors.
    pub(super) fn add(
        &mut self,
        task: impl Fn(usize, &mut UnitTally<'_>) -> Result<()> + Sync,
    ) -> Result<()> {
        let stride = self.detectors.len() * BITS;
        let empty = || ThreadBins { unit: vec![0; stride * BINS], total: vec![0; stride * BINS] };
        let one = |mut scratch: ThreadBins, (unit, cells): (usize, &mut [FaultCounts])| {
            scratch.unit.fill(0);
            task(unit, &mut UnitTally { cells, bins: &mut scratch.unit })?;
            for (cell, bins) in cells.iter_mut().zip(scratch.unit.chunks_exact(BINS)) {
                cell.add_octaves(bins);
            }
            let counts = scratch.total.iter_mut().zip(&scratch.unit);
            counts.for_each(|(sum, count)| *sum += u64::from(*count));
            Ok(scratch)
        };
        let bins = self
            .cells
            .par_chunks_mut(stride)
            .enumerate()
            .try_fold(empty, one)
            .map(|scratch| scratch.map(|scratch: ThreadBins| scratch.total))
            .try_reduce_with(|mut sums, counts| {
                sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
                Ok(sums)
            });
        for (sum, count) in self.bins.iter_mut().zip(bins.transpose()?.unwrap_or_default()) {
            *sum += count;
        }
        Ok(())
    }
}

/// A thread's bins, detectors × bits × [`BINS`]: of the unit at hand, and of all that it has done.
struct ThreadBins {
    unit: Vec<u32>,
    total: Vec<u64>,
}

/// Where a task counts the faults of its unit.
pub(super) struct UnitTally<'a> {
    /// Detectors × bits.
    cells: &'a mut [FaultCounts],
    bins: &'a mut [u32],
}

impl UnitTally<'_> {
    /// Counts a fault; `detector` is a place in the histogram's list.
    #[inline]
    pub fn count(&mut self, detector: usize, bit: usize, golden: &Score, faulty: &Faulty) {
        let index = detector * BITS + bit;
        if let Some(delta_loss) = self.cells[index].count_one(golden, faulty) {
            self.bins[index * BINS + bin_of(delta_loss)] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_hold_what_lies_between_their_edges() {
        let largest = 2.0 * f64::from(f32::MAX) + 100.0;
        for value in
            [0.0, 1e-300, 9e-13, 1e-12, 1e-6, 0.999, 1.0, 1.124, 1.126, 88.7, 1e38, largest]
        {
            let bin = bin_of(value);
            let [low, high] = edges_of(bin);
            assert!(low <= value && value < high, "{value}: {low}..{high}");
            assert!(bin == 0 || high / low <= 1.125);
            let [low, high] = octave_edges(octave_of(bin) as u8);
            assert!(low <= value && value < high, "{value}: {low}..{high}");
            assert!(bin == 0 || high / low == 2.0);
        }
        assert!((1..BINS).all(|bin| edges_of(bin - 1)[1] == edges_of(bin)[0]));
        assert!(octave_of(BINS - 1) == OCTAVES && OCTAVES <= usize::from(u8::MAX));
    }

    #[test]
    fn quantiles_are_order_statistics_of_bins() {
        let mut bins = vec![0u64; BINS];
        for value in 1..=1000 {
            bins[bin_of(f64::from(value))] += 1;
        }
        for (q, value) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0), (0.999, 999.0)] {
            let found = quantile(&bins, 0, q);
            assert!((found / value - 1.0).abs() < 0.0625, "{found}");
        }
        assert!(quantile(&[0; BINS], 0, 0.5).is_nan());
        // 1,000 numbers and 20 that are infinite: the 1,010th of all is one of these.
        assert_eq!(quantile(&bins, 20, 0.99), f64::INFINITY);
        assert!(quantile(&bins, 20, 0.98).is_finite());
    }

    #[test]
    fn outcomes_are_counted_in_their_own_places() {
        // Those of the columns in a store.
        let columns = [Outcome::Nonfinite, Outcome::Masked, Outcome::Sdc, Outcome::Benign];
        assert_eq!(columns.map(|outcome| outcome as usize), [0, 1, 2, 3]);
    }
}
