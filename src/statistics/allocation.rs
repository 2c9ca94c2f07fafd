//! How many draws to give to each stratum.

/// A stratum of draws to be allocated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AllocationStratum {
    /// The variance to which the stratum adds this, divided by its size.
    pub variance: f64,
    /// What a draw in it costs, in draws.
    pub cost: f64,
    /// The least size.
    pub least: u64,
}

/// The sizes of strata for a budget: each its least, and of what is left a share in proportion to √(variance/cost),
/// for which the sum of variance/size is least (Neyman, 1934, *On the two different aspects of the representative
/// method*; with costs Cochran, 1977, *Sampling Techniques*, theorem 5.6). The shares are even where nothing varies.
///
/// For several figures at once a stratum's variance is the weighted sum of what it adds to theirs (Yates' compromise;
/// Cochran, 1977, § 5A.4). Sizes are whole; all that rounding leaves goes on to the next stratum.
pub fn allocated(strata: &[AllocationStratum], budget: f64) -> Vec<u64> {
    let cost_of = |size: &dyn Fn(&AllocationStratum) -> f64| -> f64 {
        strata.iter().map(|stratum| stratum.cost * size(stratum)).sum()
    };
    let left = (budget - cost_of(&|stratum| stratum.least as f64)).max(0.0);
    let root = |stratum: &AllocationStratum| (stratum.variance / stratum.cost).sqrt();
    let varies = cost_of(&root) > 0.0;
    let share = |stratum: &AllocationStratum| if varies { root(stratum) } else { 1.0 };
    let total = cost_of(&share);
    let mut carried = 0.0;
    let size = |stratum: &AllocationStratum| {
        let AllocationStratum { cost, least, .. } = *stratum;
        let wanted = least as f64 + left * share(stratum) / total + carried / cost;
        let size = (wanted.round() as u64).max(least);
        carried = cost * (wanted - size as f64);
        size
    };
    strata.iter().map(size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stratum(variance: f64, cost: f64, least: u64) -> AllocationStratum {
        AllocationStratum { variance, cost, least }
    }

    /// Cochran (1977), section 5.5: with equal costs sizes are in proportion to W·S, with costs to W·S/√c. Here
    /// W·S = 1, 2, 3, 6 of a budget of 120, and the same with costs 1, 4, 9, 4.
    #[test]
    fn sizes_are_neymans() {
        let equal = [1.0, 4.0, 9.0, 36.0].map(|variance| stratum(variance, 1.0, 0));
        assert_eq!(allocated(&equal, 120.0), [10, 20, 30, 60]);
        let costs = [1.0, 4.0, 9.0, 4.0];
        let of = |(variance, cost): (f64, f64)| stratum(variance, cost, 0);
        let costly: Vec<_> = [1.0, 4.0, 9.0, 36.0].into_iter().zip(costs).map(of).collect();
        // In proportion to 1, 1, 1, 3, which cost 1 + 4 + 9 + 12 = 26 of 130.
        assert_eq!(allocated(&costly, 130.0), [5, 5, 5, 15]);
        let sum = |sizes: &[u64]| -> f64 {
            equal.iter().zip(sizes).map(|(s, size)| s.variance / *size as f64).sum()
        };
        for other in [[30, 30, 30, 30], [11, 20, 30, 59], [10, 21, 29, 60], [9, 20, 30, 61]] {
            assert!(sum(&other) > sum(&[10, 20, 30, 60]), "{other:?}");
        }
    }

    #[test]
    fn every_stratum_has_its_least_and_the_budget_is_spent() {
        let strata: Vec<_> = (0..320).map(|i| stratum(f64::from(i % 7), 1.0, 12)).collect();
        let sizes = allocated(&strata, 10_000.0);
        assert_eq!(sizes.iter().sum::<u64>(), 10_000);
        assert!(sizes.iter().all(|size| *size >= 12));
        assert_eq!(sizes[0], 12);
        let still = vec![stratum(0.0, 1.0, 12); 32];
        assert_eq!(allocated(&still, 640.0), [20; 32]);
        assert_eq!(allocated(&still, 10.0), [12; 32]);
    }
}
