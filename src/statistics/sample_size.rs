//! How well a number of draws knows a rate, before any is made.

use serde::Serialize;

use super::Confidence;

/// With more of a population than this share, statisticians correct for its being finite.
const LARGE_SHARE: f64 = 0.05;

/// How far a rate may lie from its estimate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SampleMargin {
    /// e = z·√(p(1 − p)/n) at p = ½, where it is largest. It holds for draws with replacement, too.
    pub margin: f64,
    /// The same times √((N − n)/(N − 1)), for draws without replacement; `None` where they are 5 % of the population at
    /// most, or it isn't known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corrected: Option<f64>,
}

/// The margin of error of `n` draws out of `population`; `None` without a draw.
///
/// Leveugle et al. (2009, *Statistical fault injection: Quantified error and confidence*) give the draws that a margin
/// takes, n = N / (1 + e²·(N − 1)/(z²·p(1 − p))); this is that formula solved for e.
pub fn sample_margin(
    n: u64,
    population: Option<u64>,
    confidence: Confidence,
) -> Option<SampleMargin> {
    if n == 0 {
        return None;
    }
    let n = n as f64;
    let margin = confidence.z() * (0.25 / n).sqrt();
    let all = population.map(|all| all as f64).filter(|all| n > LARGE_SHARE * all && *all > 1.0);
    let corrected = all.map(|all| margin * ((all - n).max(0.0) / (all - 1.0)).sqrt());
    Some(SampleMargin { margin, corrected })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures that papers cite: 384 draws for 5 points at 95 %, 9,604 for 1 point, 16,589 for 1 point at 99 %.
    #[test]
    fn margins_are_those_of_known_sample_sizes() {
        let at = |share: f64| Confidence::new(share).unwrap();
        for (n, share, expected) in [(384, 0.95, 0.05), (9_604, 0.95, 0.01), (16_589, 0.99, 0.01)] {
            let found = sample_margin(n, None, at(share)).unwrap();
            assert!((found.margin - expected).abs() < 2e-5, "{n}: {found:?}");
            assert_eq!(found.corrected, None);
            assert_eq!(sample_margin(n, Some(1 << 40), at(share)), Some(found));
        }
        assert_eq!(sample_margin(0, None, at(0.95)), None);
    }

    #[test]
    fn of_small_populations_the_formula_gives_the_draws_back() {
        let (all, n, confidence) = (1000u64, 278u64, Confidence::default());
        let e = sample_margin(n, Some(all), confidence).unwrap().corrected.unwrap();
        let z = confidence.z();
        let back = all as f64 / (1.0 + e * e * (all as f64 - 1.0) / (z * z * 0.25));
        assert!((back - n as f64).abs() < 1e-9, "{back}");
        // Everything was drawn, or more often than that.
        for n in [1000, 2000] {
            assert_eq!(sample_margin(n, Some(all), confidence).unwrap().corrected, Some(0.0));
        }
        // A population of one has no rate to be uncertain of, and no division by nothing.
        assert_eq!(sample_margin(3, Some(1), confidence).unwrap().corrected, None);
    }
}
