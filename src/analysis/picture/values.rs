//! What faults made of values: before against after, in bins of a symmetric logarithmic scale, by outcome.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Outcomes, Shown, check, faults_words};
use crate::analysis::scope::Scope;
use crate::detector::Detector;
use crate::results::{Run, Values};

/// Bins of an axis, half of them below 0.
const BINS: usize = 24;

/// Numbers that are smaller than this lie close to 0 on the axes, which are linear there.
const LINEAR: f64 = 1e-3;

/// An axis on which x lies at sign(x)·log₁₀(1 + |x|/[`SymlogAxis::linear`]) (Webber, 2013, *A bi-symmetric log transformation
/// for wide-range data*), in bins of equal width.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SymlogAxis {
    /// Where the axis goes over from linear to logarithmic.
    pub linear: f64,
    /// The largest number on it; the smallest is its negative.
    pub most: f64,
    /// Bins; one further number is of values that are NaN or infinite.
    pub bins: usize,
}

impl SymlogAxis {
    fn new(most: f64) -> SymlogAxis {
        SymlogAxis { linear: LINEAR, most, bins: BINS }
    }

    /// How far from the axis's middle a number lies, −1 to 1 at its ends.
    pub fn at(&self, value: f64) -> f64 {
        let far = |value: f64| (1.0 + value / self.linear).log10();
        (far(value.abs()) / far(self.most)).min(1.0).copysign(value)
    }

    /// The bin of a number; [`SymlogAxis::bins`] of one that isn't finite.
    pub fn bin(&self, value: f64) -> usize {
        if !value.is_finite() {
            return self.bins;
        }
        let at = (self.at(value) + 1.0) / 2.0 * self.bins as f64;
        (at.floor() as usize).min(self.bins - 1)
    }

    /// Lower end of a bin.
    pub fn edge(&self, bin: usize) -> f64 {
        let at = 2.0 * bin as f64 / self.bins as f64 - 1.0;
        let far = (1.0 + self.most / self.linear).log10() * at.abs();
        (self.linear * (10f64.powf(far) - 1.0)).copysign(at)
    }
}

/// Injections whose value lay in one bin before the fault and in one after it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ValueCell {
    pub before: usize,
    pub after: usize,
    pub outcomes: Outcomes,
}

/// The bins that have injections, of a layer or of all that the network's figures count.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ValueBins {
    /// Index into the run's layers; `None` of the network.
    pub layer: Option<usize>,
    pub cells: Vec<ValueCell>,
}

/// Values before and after faults. Counts are of injections as they were run, without weights.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ValueMaps {
    pub before: SymlogAxis,
    pub after: SymlogAxis,
    pub network: ValueBins,
    pub layers: Vec<ValueBins>,
}

/// Before against after of a run's records; after is what the fault made, whatever a detector did to it.
///
/// # Errors
/// Faults whose value isn't known, or that hit several.
pub fn values(run: &Run, detector: Detector) -> Shown<ValueMaps> {
    check(run, detector)?;
    let plan = &run.manifest.plan;
    let numbers = |Values { before, after, .. }: Values| {
        [before, after].map(|bits| f64::from(f32::from_bits(bits)))
    };
    let mut records = run.records.iter().filter(|record| record.detector == detector);
    if records.any(|record| record.values().is_none()) {
        let words = faults_words(plan);
        return Err(format!("{words} hit values that aren't known, or several at once."));
    }
    let finite = |value: f64| if value.is_finite() { value.abs() } else { 0.0 };
    let most = |which: usize| {
        let values = run.records.iter().filter_map(|record| record.values());
        let most = values.map(|values| finite(numbers(values)[which])).fold(LINEAR, f64::max);
        SymlogAxis::new(10f64.powi(most.log10().ceil() as i32))
    };
    let (before, after) = (most(0), most(1));
    let counts = Scope::ALL.layers(run);
    let (mut all, mut layers) = (BTreeMap::<[usize; 2], Outcomes>::new(), Vec::new());
    for index in 0..run.manifest.layers.len() {
        let mut cells = BTreeMap::<[usize; 2], Outcomes>::new();
        for record in run.of(index, detector) {
            let Some([from, to]) = record.values().map(numbers) else { continue };
            let cell = [before.bin(from), after.bin(to)];
            cells.entry(cell).or_default().push(record.effect.outcome);
            if counts.contains(&index) {
                all.entry(cell).or_default().push(record.effect.outcome);
            }
        }
        if !cells.is_empty() {
            layers.push(bins(Some(index), cells));
        }
    }
    Ok(ValueMaps { before, after, network: bins(None, all), layers })
}

fn bins(layer: Option<usize>, cells: BTreeMap<[usize; 2], Outcomes>) -> ValueBins {
    let cell =
        |([before, after], outcomes): ([usize; 2], Outcomes)| ValueCell { before, after, outcomes };
    ValueBins { layer, cells: cells.into_iter().map(cell).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As numpy's `sign(x) * log10(1 + abs(x) / 1e-3)` for x = −5, −1e-4, 0, 2e-3, 1e30, over that of 1e38.
    #[test]
    fn axes_are_symmetric() {
        let axis = SymlogAxis::new(1e38);
        for (value, expected) in [
            (-5.0, -3.699_056_854_547_668 / 41.0),
            (-1e-4, -0.041_392_685_158_225_06 / 41.0),
            (0.0, 0.0),
            (2e-3, 0.477_121_254_719_662_44 / 41.0),
            (1e30, 33.0 / 41.0),
            (f64::from(f32::MAX), 1.0),
        ] {
            assert!((axis.at(value) - expected).abs() < 1e-12, "{value}: {}", axis.at(value));
        }
        assert_eq!([f64::NAN, f64::NEG_INFINITY].map(|value| axis.bin(value)), [24; 2]);
        assert_eq!([-1e38, -0.0, 0.0, 1e38].map(|value| axis.bin(value)), [0, 12, 12, 23]);
        for bin in 0..BINS {
            let middle = (axis.edge(bin) + axis.edge(bin + 1)) / 2.0;
            assert_eq!(axis.bin(middle), bin, "{middle}");
        }
        assert!((axis.edge(0) / -1e38 - 1.0).abs() < 1e-9 && axis.edge(12) == 0.0);
    }
}
