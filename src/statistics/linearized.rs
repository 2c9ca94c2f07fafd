//! A figure whose error is known by linearization: its interval, and its p-value.

use super::interval::{Confidence, Estimate, two_sided_student, two_sided_student_p};

/// A figure, its standard error, and the degrees of freedom of that. Interval and p-value are a t distribution's and
/// say the same: the interval of a confidence leaves a value out where the p-value against it is below 1 − confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linearized {
    pub value: f64,
    /// On the scale of the logarithm, if the figure has one. NaN where it isn't known, 0 of what is certain.
    pub standard_error: f64,
    pub freedom: f64,
    pub is_log: bool,
}

impl Linearized {
    /// A figure whose error isn't known.
    pub fn unknown(value: f64) -> Linearized {
        Linearized { value, standard_error: f64::NAN, freedom: f64::NAN, is_log: false }
    }

    /// A figure without error.
    pub fn certain(value: f64) -> Linearized {
        Linearized { standard_error: 0.0, ..Linearized::unknown(value) }
    }

    /// The figure with its interval; its ends are NaN where the error isn't known.
    pub fn estimate(&self, confidence: Confidence) -> Estimate {
        let Linearized { value, standard_error, freedom, is_log } = *self;
        if standard_error == 0.0 {
            return Estimate { value, low: value, high: value };
        }
        if standard_error.is_nan() {
            return Estimate::alone(value);
        }
        let off = two_sided_student(confidence.alpha(), freedom) * standard_error;
        match is_log {
            true => Estimate { value, low: value * (-off).exp(), high: value * off.exp() },
            false => Estimate { value, low: value - off, high: value + off },
        }
    }

    /// The two-sided p-value of the figure being `equal`; `None` where there is no interval.
    pub fn p_value(&self, equal: f64) -> Option<f64> {
        let Linearized { value, standard_error, freedom, is_log } = *self;
        if standard_error.is_nan() {
            return None;
        }
        let off = if is_log { (value / equal).ln() } else { value - equal };
        if standard_error == 0.0 {
            return Some(if off == 0.0 { 1.0 } else { 0.0 });
        }
        Some(two_sided_student_p(off / standard_error, freedom))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// p-values as scipy's `2 * t.sf(abs(t), nu)` has them.
    #[test]
    fn p_values_are_student_s() {
        let figure =
            |value: f64, is_log| Linearized { value, standard_error: 0.2, freedom: 4.5, is_log };
        for (found, expected) in [
            (figure(0.5, false).p_value(0.0), 0.059905686502200545),
            (figure(0.5f64.exp(), true).p_value(1.0), 0.059905686502200545),
            (figure(1.0, false).p_value(0.0), 0.005476358359519903),
            (figure(0.3, false).p_value(0.3), 1.0),
        ] {
            assert!((found.unwrap() - expected).abs() < 1e-12, "{found:?} {expected}");
        }
        assert_eq!(Linearized::unknown(3.0).p_value(1.0), None);
        assert_eq!(Linearized::certain(1.0).p_value(1.0), Some(1.0));
    }

    /// An interval ends where its p-value is 1 − confidence.
    #[test]
    fn intervals_and_p_values_agree() {
        for is_log in [true, false] {
            let figure = Linearized { value: 1.7, standard_error: 0.3, freedom: 6.2, is_log };
            for share in [0.5, 0.9, 0.95, 0.999] {
                let interval = figure.estimate(Confidence::new(share).unwrap());
                for end in [interval.low, interval.high] {
                    let p = figure.p_value(end).unwrap();
                    assert!((p - (1.0 - share)).abs() < 1e-9, "{is_log} {share}: {p}");
                }
            }
        }
    }
}
