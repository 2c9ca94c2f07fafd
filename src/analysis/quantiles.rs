//! Quantiles of ΔLoss, which need no detector.

use serde::Serialize;

use crate::results::Record;

/// The `q`-quantile of sorted values: the smallest that at least a share `q` doesn't exceed. No
/// interpolation, which infinities would spoil.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
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
}
