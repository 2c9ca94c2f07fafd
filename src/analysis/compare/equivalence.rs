//! Whether a difference is too small to matter, which no difference shown doesn't say.
//!
//! Two one-sided tests (Schuirmann, 1987, *A comparison of the two one-sided tests procedure and the power approach for
//! assessing the equivalence of average bioavailability*): equivalence within a margin is shown at 1 − confidence = α
//! where the interval of confidence 1 − 2α lies inside the margin, from 1/factor to the factor of a ratio, as far either
//! side of 0 of a difference. That the other is not worse than the margin is shown where the end on that side does.

use serde::Serialize;

use super::{Reading, Reason};
use crate::statistics::{Confidence, Estimate};
use crate::{Error, Result};

/// What is shown of a margin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MarginFinding {
    /// The two differ by less than the margin.
    Equivalent,
    /// The other isn't worse than the baseline by the margin or more.
    NotWorse,
    Neither,
    #[serde(untagged)]
    None(Reason),
}

/// The primary reading held against a margin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Equivalence {
    /// A factor of a ratio, percentage points of a difference.
    pub margin: f64,
    pub shown: MarginFinding,
    /// The primary reading with the interval of the two tests, and its confidence.
    pub estimate: Option<Estimate>,
    pub confidence: Confidence,
}

impl Equivalence {
    /// The confidence of the interval that both tests look at.
    ///
    /// # Errors
    /// A confidence of the tests of a half or less.
    pub fn confidence(of_tests: Confidence) -> Result<Confidence> {
        // 0.95 makes 0.9, not 0.8999….
        let share = (1e12 * (1.0 - 2.0 * of_tests.alpha())).round() / 1e12;
        Confidence::new(share).map_err(|_| {
            Error::usage(format!("--margin needs a confidence above 50 %, not {of_tests}"))
        })
    }

    /// `estimate` is the reading with an interval of `confidence`.
    pub fn of(
        reading: Reading,
        margin: f64,
        estimate: Option<Estimate>,
        confidence: Confidence,
        refused: Option<Reason>,
    ) -> Equivalence {
        // How far the other may be worse, and better.
        let (worse, better) = match (reading.is_ratio(), estimate) {
            (_, None) => (f64::NAN, f64::NAN),
            (true, Some(ratio)) => (ratio.low * margin - 1.0, margin - ratio.high),
            (false, Some(difference)) => (margin - difference.high, margin + difference.low),
        };
        let shown = match (refused, estimate) {
            (Some(reason), _) => MarginFinding::None(reason),
            (None, None) => MarginFinding::None(Reason::NotMeasured),
            (None, Some(_)) if worse.is_nan() || better.is_nan() => {
                MarginFinding::None(Reason::NoInterval)
            }
            (None, Some(_)) if worse > 0.0 && better > 0.0 => MarginFinding::Equivalent,
            (None, Some(_)) if worse > 0.0 => MarginFinding::NotWorse,
            (None, Some(_)) => MarginFinding::Neither,
        };
        Equivalence { margin, shown, estimate, confidence }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends by hand; a ratio above 1 and a difference below 0 are in the other's favour.
    #[test]
    fn margins_hold_either_end() {
        let of = |reading, margin, low: f64, high| {
            let estimate = Estimate { value: 0.5 * (low + high), low, high };
            Equivalence::of(reading, margin, Some(estimate), Confidence::P95, None).shown
        };
        for (low, high, expected) in [
            (0.92, 1.09, MarginFinding::Equivalent),
            (0.90, 1.09, MarginFinding::Neither), // 1/1.1 = 0.909
            (0.92, 1.11, MarginFinding::NotWorse),
            (1.50, 2.00, MarginFinding::NotWorse),
            (0.50, 0.60, MarginFinding::Neither),
            (f64::NAN, f64::NAN, MarginFinding::None(Reason::NoInterval)),
        ] {
            assert_eq!(of(Reading::DeltaLoss, 1.1, low, high), expected, "{low} {high}");
        }
        for (low, high, expected) in [
            (-0.4, 0.4, MarginFinding::Equivalent),
            (-0.6, 0.4, MarginFinding::NotWorse),
            (-0.4, 0.6, MarginFinding::Neither),
        ] {
            assert_eq!(of(Reading::Sdc, 0.5, low, high), expected, "{low} {high}");
        }
        let refused = Some(Reason::NearChance);
        let of = Equivalence::of(Reading::Sdc, 0.5, None, Confidence::P95, refused);
        assert_eq!(of.shown, MarginFinding::None(Reason::NearChance));
    }

    #[test]
    fn the_tests_look_at_twice_alpha() {
        let of = |share| Equivalence::confidence(Confidence::new(share).unwrap());
        assert!((of(0.95).unwrap().share() - 0.9).abs() < 1e-12);
        assert!(of(0.5).unwrap_err().to_string().contains("above 50 %"));
    }
}
