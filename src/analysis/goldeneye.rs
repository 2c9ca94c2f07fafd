//! Figures by GoldenEye's rules: means without NaN, mismatches that a NaN loss never is, normal intervals.

use serde::Serialize;

use crate::detector::Detector;
use crate::results::Run;
use crate::statistics::{Estimate, wilson};

/// The normal quantile of its two-sided 99 %.
pub const Z99: f64 = 2.576;

/// A mean or a rate, and half the width of its normal interval of 99 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct GoldenEyeFigure {
    pub value: f64,
    /// z·s/√n, s² being the sample variance, n − 1 below; of a rate z·√(p(1 − p)/n). At rates of 0 and 1, where
    /// that would be nothing, as far as Wilson's interval reaches (GoldenEye has 0 there).
    pub half_width: f64,
}

/// The figures of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LayerFigures {
    pub injections: u64,
    /// Injections whose loss is NaN.
    pub nan: u64,
    /// Mean |L_golden − L_faulty| in nats, over the injections whose loss isn't NaN; infinite if one of
    /// theirs is, and NaN without any.
    pub delta_loss: GoldenEyeFigure,
    /// The share of all injections that changed the top-1 with a loss that isn't NaN.
    pub mismatches: GoldenEyeFigure,
}

/// The figures of each layer of a run.
pub fn figures(run: &Run) -> Vec<LayerFigures> {
    let of_layer = |layer: usize| {
        let (mut injections, mut mismatches) = (0u64, 0u64);
        let mut harm = Vec::new();
        for record in run.of(layer, Detector::Range) {
            injections += 1;
            let delta_loss = record.delta_loss();
            if !delta_loss.is_nan() {
                harm.push(delta_loss);
                mismatches += u64::from(record.effect.score.top1 != record.golden.top1);
            }
        }
        LayerFigures {
            injections,
            nan: injections - harm.len() as u64,
            delta_loss: mean(&harm),
            mismatches: share(mismatches as f64, injections as f64),
        }
    };
    (0..run.manifest.layers.len()).map(of_layer).collect()
}

fn share(events: f64, n: f64) -> GoldenEyeFigure {
    let value = events / n;
    let half_width = match wilson(events, n, Z99) {
        Estimate { high, .. } if value == 0.0 => high,
        Estimate { low, .. } if value == 1.0 => 1.0 - low,
        _ => Z99 * (value * (1.0 - value) / n).sqrt(),
    };
    GoldenEyeFigure { value, half_width }
}

fn mean(values: &[f64]) -> GoldenEyeFigure {
    let n = values.len() as f64;
    let value = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - value) * (v - value)).sum();
    GoldenEyeFigure { value, half_width: Z99 * (squares / (n - 1.0) / n).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing of 20 reaches z²/(20 + z²), and so does everything.
    #[test]
    fn rates_of_0_and_1_have_an_interval() {
        let reach = Z99 * Z99 / (20.0 + Z99 * Z99);
        for events in [0.0, 20.0] {
            let GoldenEyeFigure { value, half_width } = share(events, 20.0);
            assert!(value == events / 20.0 && (half_width - reach).abs() < 1e-12, "{half_width}");
        }
        assert!((share(5.0, 20.0).half_width - Z99 * (0.1875f64 / 20.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn means_have_normal_intervals() {
        // Sample variance of 1, 2, 3, 4: 5/3.
        let GoldenEyeFigure { value, half_width } = mean(&[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(value, 2.5);
        assert!((half_width - 2.576 * (5.0f64 / 3.0 / 4.0).sqrt()).abs() < 1e-12);
    }
}
