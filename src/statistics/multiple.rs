//! Several tests at once: p-values that say how often any of them would mislead.

/// Holm's (1979, *A simple sequentially rejective multiple test procedure*, section 2) adjusted p-values, in the
/// order of `p`: where those below α are called differences, the chance of one or more wrong calls among them is
/// at most α, however the tests depend on each other. The smallest of m counts m-fold, the next (m − 1)-fold, and
/// so on, none less than the one before it.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut adjusted = vec![1.0; p.len()];
    let mut least = 0.0f64;
    for (rank, at) in order.into_iter().enumerate() {
        least = least.max((p.len() - rank) as f64 * p[at]).min(1.0);
        adjusted[at] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As statsmodels 0.15's `multipletests(p, method="holm")` has them.
    #[test]
    fn adjusted_p_values_are_statsmodels() {
        for (p, expected) in [
            (&[0.01, 0.04, 0.03, 0.005][..], &[0.03, 0.06, 0.06, 0.02][..]),
            (&[0.0001, 0.9, 0.02, 0.02, 0.011], &[0.0005, 0.9, 0.06, 0.06, 0.044]),
            (&[0.6, 0.7, 0.8], &[1.0, 1.0, 1.0]),
            (&[0.03], &[0.03]),
            (&[], &[]),
        ] {
            let found = holm(p);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-15, "{p:?}: {found} {expected}");
            }
        }
    }
}
