//! Whether two proportions differ: a test for counts of the same trials, and one for counts of others.

use super::interval::{normal_cdf, regularized_beta};

/// McNemar's exact test of two proportions over the same trials: `only_a` had the event in the one, `only_b` in
/// the other alone. Two-sided, 2·P(X ≤ the smaller) of X ~ Bin(only_a + only_b, 1/2), at most 1 (McNemar,
/// 1947, *Note on the sampling error of the difference between correlated proportions or percentages*; exact
/// after Liddell, 1983, *Simplified exact analysis of case-referent studies*).
pub fn mcnemar_exact(only_a: u64, only_b: u64) -> f64 {
    let (fewer, more) = (only_a.min(only_b) as f64, only_a.max(only_b) as f64);
    if fewer == more {
        return 1.0;
    }
    // P(X ≤ k) of n halves is I_½(n − k, k + 1).
    (2.0 * regularized_beta(0.5, more, fewer + 1.0)).min(1.0)
}

/// Pearson's χ² test of two proportions over different trials, `events` of `trials` each, without correction
/// (Fleiss, Levin and Paik, 2003, *Statistical Methods for Rates and Proportions*, equation 3.9); 1 where
/// nothing or everything is an event.
pub fn two_proportions(events: [u64; 2], trials: [u64; 2]) -> f64 {
    let [x, y] = events.map(|events| events as f64);
    let [n, m] = trials.map(|trials| trials as f64);
    let pooled = (x + y) / (n + m);
    let variance = pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m);
    let z = (x / n - y / m).abs() / variance.sqrt();
    if z.is_nan() { 1.0 } else { 2.0 * normal_cdf(-z) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9 * expected, "{found} {expected}");
    }

    /// As scipy 1.17's `binomtest(k, n).pvalue` and statsmodels 0.15's `mcnemar(exact=True)` have them.
    #[test]
    fn mcnemar_is_scipys_binomial_test() {
        near(mcnemar_exact(0, 3), 0.25);
        near(mcnemar_exact(15, 5), 0.04138946533203125);
        near(mcnemar_exact(120, 180), 0.0006342200069283566);
        assert_eq!([mcnemar_exact(10, 10), mcnemar_exact(0, 0)], [1.0, 1.0]);
    }

    /// As scipy's `chi2_contingency(correction=False)` has them.
    #[test]
    fn pearsons_test_is_scipys() {
        near(two_proportions([9, 3], [10, 10]), 0.0061698993205441645);
        near(two_proportions([868, 880], [1000, 1000]), 0.4187543468783792);
        assert!(two_proportions([30, 250], [300, 300]) < 1e-70);
        assert_eq!(two_proportions([0, 0], [5, 9]), 1.0);
        assert_eq!(two_proportions([5, 9], [5, 9]), 1.0);
        assert_eq!(two_proportions([0, 0], [0, 0]), 1.0);
    }
}
