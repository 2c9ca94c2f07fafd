//! A figure over training seeds.

use crate::statistics::{Confidence, Estimate, MeasuredEffect, RandomEffect, random_effect};

/// What the estimates of several training seeds, each with an interval of 95 % over the sampling of faults, say together:
/// a random effect. Ratios add up by their logarithms, and come back as ratios: the mean is geometric.
pub fn over_seeds(seeds: &[Estimate], are_ratios: bool) -> RandomEffect {
    let of = |value: f64| if are_ratios { value.ln() } else { value };
    let effect = |estimate: &Estimate| MeasuredEffect {
        value: of(estimate.value),
        standard_error: (of(estimate.high) - of(estimate.low)) / (2.0 * Confidence::P95.z()),
    };
    let effects: Vec<MeasuredEffect> = seeds.iter().map(effect).collect();
    let found = random_effect(&effects, Confidence::P95);
    let back = |of: Estimate| if are_ratios { of.exponential() } else { of };
    RandomEffect { mean: back(found.mean), prediction: back(found.prediction), ..found }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ratios are averaged by their logarithms: of 2 and 8 the mean is 4. With an error of ln 1.1 each, all but
    /// 2·(ln 1.1/z)²/(ln 4)² of their spread is training's.
    #[test]
    fn ratios_of_seeds_are_averaged_by_their_logarithms() {
        let estimate = |value: f64| Estimate { value, low: value / 1.1, high: value * 1.1 };
        let found = over_seeds(&[estimate(2.0), estimate(8.0)], true);
        assert!((found.mean.value - 4.0).abs() < 1e-12, "{found:?}");
        // Student's t of one degree at 97.5 % is 12.7062; the standard error of two is half their distance.
        let half = 12.706204736174694 * 2f64.ln();
        assert!((found.mean.high.ln() - 4f64.ln() - half).abs() < 1e-9);
        let error = 1.1f64.ln() / Confidence::P95.z();
        let expected = 1.0 - 2.0 * error * error / 4f64.ln().powi(2);
        assert!((found.i_squared - expected).abs() < 1e-12);
    }

    #[test]
    fn differences_of_seeds_are_averaged_as_they_are() {
        let at = |value| Estimate { value, low: value - 1.0, high: value + 1.0 };
        let found = over_seeds(&[at(-1.0), at(2.0), at(-4.0)], false);
        assert_eq!(found.mean.value, -1.0);
        // A spread of 3: 4.302653·3/√3 about it, and 4.302653·3·√(4/3) for a further seed.
        assert!((found.mean.high - (-1.0 + 4.302652729749462 * 3f64.sqrt())).abs() < 1e-9);
        assert!((found.prediction.high - (-1.0 + 4.302652729749462 * 12f64.sqrt())).abs() < 1e-9);
    }
}
