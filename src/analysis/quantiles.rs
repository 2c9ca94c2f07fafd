//! Quantiles of ΔLoss, which need no detector, and how few records carry its mean.

use serde::Serialize;

use super::rates::Selection;
use crate::results::{Outcome, Record};
use crate::statistics::carriers;

/// The `q`-quantile of weighted values, (value, weight) in ascending order: the smallest value that at least a
/// share `q` of the weight doesn't exceed; with equal weights definition 1 of Hyndman and Fan (1996, *Sample
/// Quantiles in Statistical Packages*). No interpolation, which infinities would spoil. NaN of nothing.
pub fn quantile(sorted: &[(f64, f64)], q: f64) -> f64 {
    let total: f64 = sorted.iter().map(|(_, weight)| weight).sum();
    // Sums of weights that aren't whole may fall short of a share by rounding.
    let wanted = q * total * (1.0 - 1e-12);
    let mut seen = 0.0;
    let reaches = |(_, weight): &&(f64, f64)| {
        seen += weight;
        seen >= wanted
    };
    let found = sorted.iter().find(reaches).or(sorted.last());
    found.map_or(f64::NAN, |(value, _)| *value)
}

/// Quantiles 50, 90, 99 and 99.9 % of ΔLoss, in which answers that the fault made nonfinite (`nonfinite` of
/// them) are infinite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    pub values: [f64; 4],
    pub nonfinite: u64,
}

impl Selection<'_> {
    /// The quantiles of ΔLoss, layers and records weighted as in means.
    pub fn delta_loss_quantiles(&self) -> Quantiles {
        let mut values = self.weighted_values(Record::worst_delta_loss);
        values.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let is_lost = |record: &&Record| record.effect.outcome == Outcome::Nonfinite;
        Quantiles {
            values: [0.5, 0.9, 0.99, 0.999].map(|q| quantile(&values, q)),
            nonfinite: self.records().filter(is_lost).count() as u64,
        }
    }

    /// How many records carry half of the mean ΔLoss, layers and records weighted as in it.
    pub fn delta_loss_carriers(&self) -> usize {
        let values = self.weighted_values(Record::delta_loss);
        carriers(values.into_iter().map(|(value, weight)| value * weight))
    }

    /// The values of the records that have one, with the share of each, up to a factor: a layer's weight is
    /// dealt out among its records.
    pub(super) fn weighted_values(&self, value: impl Fn(&Record) -> f64) -> Vec<(f64, f64)> {
        let mut all = Vec::new();
        for layer in self.layers() {
            let begin = all.len();
            let of_layer = self.of(*layer).map(|record| (value(record), self.weight_of(record)));
            all.extend(of_layer.filter(|(value, _)| !value.is_nan()));
            let total: f64 = all[begin..].iter().map(|(_, weight)| weight).sum();
            let share = self.weight(*layer) / total;
            all[begin..].iter_mut().for_each(|(_, weight)| *weight *= share);
        }
        all.retain(|(_, weight)| *weight > 0.0);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_order_statistics() {
        let alike = |values: &[f64]| -> Vec<(f64, f64)> {
            values.iter().map(|value| (*value, 1.0)).collect()
        };
        let values: Vec<f64> = (1..=1000).map(f64::from).collect();
        let at = [0.5, 0.9, 0.99, 0.999].map(|q| quantile(&alike(&values), q));
        assert_eq!(at, [500.0, 900.0, 990.0, 999.0]);
        let infinite = alike(&[1.0, f64::INFINITY]);
        assert_eq!([0.5, 0.9].map(|q| quantile(&infinite, q)), [1.0, f64::INFINITY]);
        assert!(quantile(&[], 0.5).is_nan());
    }

    /// As numpy 2's `quantile([1, 2, 3, 4, 5, 6], q, method="inverted_cdf", weights=[3, 0.5, 0.25, 2, 0.125, 4])`
    /// for q = 0.1, 0.3, 0.35, 0.36, 0.5, 0.58, 0.6, 0.99.
    #[test]
    fn weights_count() {
        let weights = [3.0, 0.5, 0.25, 2.0, 0.125, 4.0];
        let values: Vec<(f64, f64)> = (1..=6).map(f64::from).zip(weights).collect();
        let at = [0.1, 0.3, 0.35, 0.36, 0.5, 0.58, 0.6, 0.99].map(|q| quantile(&values, q));
        assert_eq!(at, [1.0, 1.0, 2.0, 3.0, 4.0, 4.0, 6.0, 6.0]);
        // Thirds don't add up to 1 in f64.
        let thirds: Vec<(f64, f64)> = [1.0, 2.0, 3.0].map(|value| (value, 1.0 / 3.0)).to_vec();
        assert_eq!([2.0 / 3.0, 1.0].map(|q| quantile(&thirds, q)), [2.0, 3.0]);
    }
}
