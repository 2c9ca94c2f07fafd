//! One effect measured several times, each time on another draw of something that varies: the effect as a
//! random one.
//!
//! Every measurement counts alike, as those of one design do. The mean's interval is Student's, from the
//! spread of the measurements: what Hartung and Knapp (2001, *A refined method for the meta-analysis of
//! controlled clinical trials with binary outcome*, equation 5) come to with equal weights. Few measurements may lie
//! next to each other by chance: the spread is taken to be no less than their own errors make it (Röver, Knapp and
//! Friede, 2015, *Hartung-Knapp-Sidik-Jonkman approach and its modification for random-effects meta-analysis with few
//! studies*, the modification q* = max(1, q)). The interval holds the mean of all draws; the prediction interval holds what one further draw would measure (Student's for a further
//! observation; Higgins, Thompson and Spiegelhalter, 2009, *A re-evaluation of random-effects meta-analysis*,
//! say why both are to be given). I² is the share of the spread that the measurements' own errors don't
//! explain (Higgins and Thompson, 2002, *Quantifying heterogeneity in a meta-analysis*, equation 10).

use serde::Serialize;

use super::interval::{Confidence, Estimate, two_sided_student};

/// An effect as it was measured, and the standard error of measuring it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeasuredEffect {
    pub value: f64,
    /// Infinite or NaN where it isn't known.
    pub standard_error: f64,
}

/// What the measurements say together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RandomEffect {
    /// The mean of all draws. One measurement has no interval: its ends are NaN.
    pub mean: Estimate,
    /// What one further draw would measure, about the same mean.
    pub prediction: Estimate,
    /// Between 0 and 1: 0 where the measurements differ no more than their errors let them. NaN where a
    /// standard error isn't known, or of one measurement.
    pub i_squared: f64,
}

/// Effects, each measured on a draw of its own; NaN of none.
pub fn random_effect(effects: &[MeasuredEffect], confidence: Confidence) -> RandomEffect {
    let count = effects.len() as f64;
    let mean = effects.iter().map(|effect| effect.value).sum::<f64>() / count;
    let squares: f64 = effects.iter().map(|effect| (effect.value - mean).powi(2)).sum();
    let errors: f64 = effects.iter().map(|effect| effect.standard_error.powi(2)).sum();
    // Where an error isn't known, neither is what it makes of the spread.
    let least = if errors.is_finite() { errors / count } else { 0.0 };
    let (spread, quantile) = match effects.len() {
        0 | 1 => (f64::NAN, f64::NAN),
        n => (
            (squares / (count - 1.0)).max(least).sqrt(),
            two_sided_student(confidence.alpha(), (n - 1) as f64),
        ),
    };
    let within = |half: f64| Estimate { value: mean, low: mean - half, high: mean + half };
    RandomEffect {
        mean: within(quantile * spread / count.sqrt()),
        prediction: within(quantile * spread * (1.0 + 1.0 / count).sqrt()),
        i_squared: i_squared(effects),
    }
}

/// max(0, (Q − (K − 1)) / Q), Q being Cochran's sum of squares about the mean weighted by precision.
fn i_squared(effects: &[MeasuredEffect]) -> f64 {
    let is_known =
        |effect: &MeasuredEffect| effect.standard_error > 0.0 && effect.standard_error.is_finite();
    if effects.len() < 2 || !effects.iter().all(is_known) {
        return f64::NAN;
    }
    let weight = |effect: &MeasuredEffect| effect.standard_error.powi(-2);
    let total: f64 = effects.iter().map(weight).sum();
    let mean = effects.iter().map(|effect| weight(effect) * effect.value).sum::<f64>() / total;
    let q: f64 = effects.iter().map(|effect| weight(effect) * (effect.value - mean).powi(2)).sum();
    let expected = effects.len() as f64 - 1.0;
    if q > expected { (q - expected) / q } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9 * expected.abs(), "{found} {expected}");
    }

    const VALUES: [f64; 4] = [1.10, 0.82, 1.41, 0.95];

    fn effects(variances: [f64; 4]) -> Vec<MeasuredEffect> {
        let effect = |(value, variance): (f64, f64)| MeasuredEffect {
            value,
            standard_error: variance.sqrt(),
        };
        VALUES.into_iter().zip(variances).map(effect).collect()
    }

    /// Means and both intervals as numpy and scipy's t give them; the mean's is also that of statsmodels 0.15's
    /// `combine_effects` ("hksj", equal variances). Q = 3.711937984 and I² are `combine_effects`'s. The values' variance,
    /// 0.0645, is more than their errors make it, 0.045.
    #[test]
    fn an_effect_of_four_measurements_is_statsmodels() {
        let found = random_effect(&effects([0.04, 0.02, 0.09, 0.03]), Confidence::P95);
        near(found.mean.value, 1.07);
        near(found.mean.low, 0.6659838770136466);
        near(found.mean.high, 1.4740161229863535);
        near(found.prediction.low, 0.16659248499659818);
        near(found.prediction.high, 1.973407515003402);
        near(found.i_squared, 0.19179684236906014);
        let wide = random_effect(&effects([0.02; 4]), Confidence::new(0.99).unwrap());
        near(wide.mean.low, 0.3284881856088391);
        near(wide.prediction.high, 2.728070823097843);
        near(wide.i_squared, 0.6897621509824194);
    }

    #[test]
    fn measurements_that_differ_by_their_errors_have_no_heterogeneity() {
        assert_eq!(random_effect(&effects([1.0; 4]), Confidence::P95).i_squared, 0.0);
        let unknown = random_effect(&effects([0.04, f64::INFINITY, 0.09, 0.03]), Confidence::P95);
        assert!(unknown.i_squared.is_nan() && unknown.mean.low > 0.6);
    }

    /// Three measurements that lie closer together than their errors of 0.1: Student's t of two degrees times 0.1/√3.
    #[test]
    fn an_interval_is_no_narrower_than_errors_make_it() {
        let close = [0.07, 0.08, 0.05].map(|value| MeasuredEffect { value, standard_error: 0.1 });
        let found = random_effect(&close, Confidence::P95);
        near(found.mean.high - found.mean.value, 4.302652729749462 * 0.1 / 3f64.sqrt());
        near(
            found.prediction.high - found.mean.value,
            4.302652729749462 * 0.1 * (4.0f64 / 3.0).sqrt(),
        );
    }

    #[test]
    fn one_measurement_has_no_interval() {
        let one = random_effect(&effects([0.04; 4])[..1], Confidence::P95);
        assert_eq!(one.mean.value, 1.10);
        assert!(one.mean.low.is_nan() && one.prediction.high.is_nan() && one.i_squared.is_nan());
        assert!(random_effect(&[], Confidence::P95).mean.value.is_nan());
    }

    /// 2,000 times three measurements of normal effects: the mean's interval holds their mean, the prediction
    /// interval a fourth, 97 and 98 times in 100 (the standard error is 0.4 %): more often than the 95 that are asked for,
    /// since three that lie together by chance don't make an interval narrow.
    #[test]
    fn three_measurements_cover_the_mean_and_a_fourth() {
        use crate::rng::{self, Draw};
        let mut draws = rng::stream(1, "effects");
        let mut normal = || super::super::interval::normal_quantile(draws.unit().max(1e-12));
        let (mut means, mut fourths) = (0, 0);
        for _ in 0..2000 {
            let measured =
                [0; 3].map(|_| MeasuredEffect { value: 0.7 + 0.3 * normal(), standard_error: 0.1 });
            let found = random_effect(&measured, Confidence::P95);
            means += usize::from(found.mean.holds(0.7));
            fourths += usize::from(found.prediction.holds(0.7 + 0.3 * normal()));
        }
        assert!(
            (1920..=1970).contains(&means) && (1930..=1980).contains(&fourths),
            "{means} {fourths}"
        );
    }
}
