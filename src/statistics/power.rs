//! How likely a test finds an effect, and how large an effect it finds.
//!
//! A figure is tested by Student's t of ν degrees of freedom: its value by its standard error. Where its true value is
//! δ standard errors from that of no difference, the test's t is noncentral (Johnson, Kotz and Balakrishnan, 1995,
//! *Continuous Univariate Distributions*, vol. 2, ch. 31), and the chance that it is found is
//!
//!   P(|T| > t) of T noncentral with ν and δ, t the two-sided quantile of 1 − confidence.

use super::interval::{
    Confidence, normal_cdf, normal_quantile, regularized_beta, two_sided_normal, two_sided_student,
};

/// P(T ≤ t) of the noncentral t distribution, by the series of beta distributions (Guenther, 1978, *Evaluation of
/// probabilities for the noncentral distributions and the difference of two t-variables with a desk calculator*;
/// Lenth, 1989, *Algorithm AS 243*, equation 1), each term by its logarithm, so that no δ is too large.
pub fn noncentral_t_cdf(t: f64, freedom: f64, delta: f64) -> f64 {
    if t < 0.0 {
        return 1.0 - noncentral_t_cdf(-t, freedom, -delta);
    }
    let mut sum = normal_cdf(-delta);
    if t == 0.0 {
        return sum;
    }
    let (x, half) = (t * t / (freedom + t * t), delta * delta / 2.0);
    // Poisson weights of mean δ²/2: all that count lie so close to it.
    let reach = 12.0 * half.sqrt() + 40.0;
    let (first, last) = ((half - reach).max(0.0) as u64, (half + reach) as u64);
    for j in (first..=last).map(|j| j as f64) {
        // Of δ = 0 only the first term is there.
        let log = match half > 0.0 {
            true => j * half.ln() - half,
            false if j == 0.0 => 0.0,
            false => break,
        };
        let p = (log - libm::lgamma(j + 1.0)).exp();
        let q = (log - libm::lgamma(j + 1.5)).exp() * delta / std::f64::consts::SQRT_2;
        let beta = |a: f64| regularized_beta(x, a, freedom / 2.0);
        sum += 0.5 * (p * beta(j + 0.5) + q * beta(j + 1.0));
    }
    sum.clamp(0.0, 1.0)
}

/// Effects of more standard errors count as so many: the series above grows with them, and no test in use needs more.
const MOST_ERRORS: f64 = 1000.0;

/// The chance that a two-sided test finds a figure `delta` standard errors from that of no difference, with `freedom`
/// degrees of freedom.
pub fn power(delta: f64, freedom: f64, confidence: Confidence) -> f64 {
    let delta = delta.min(MOST_ERRORS);
    let t = two_sided_student(confidence.alpha(), freedom);
    1.0 - noncentral_t_cdf(t, freedom, delta) + noncentral_t_cdf(-t, freedom, delta)
}

/// How many standard errors from that of no difference a figure has to be, so that the test finds it with the chance
/// `wanted`, which is above 1 − confidence.
pub fn detectable(freedom: f64, wanted: f64, confidence: Confidence) -> f64 {
    let (mut low, mut high) = (0.0, 2.0);
    while high < MOST_ERRORS && power(high, freedom, confidence) < wanted {
        (low, high) = (high, 2.0 * high);
    }
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        match power(middle, freedom, confidence) < wanted {
            true => low = middle,
            false => high = middle,
        }
    }
    high
}

/// [`detectable`] where the standard error is known without error: z of the test plus z of the power.
pub fn detectable_normal(wanted: f64, confidence: Confidence) -> f64 {
    two_sided_normal(confidence.alpha()) + normal_quantile(wanted)
}

/// The fewest measurements, each with the standard deviation `spread`, whose mean a one-sample t test finds with the
/// chance `wanted` where it is `effect` from that of no difference; `None` if that takes more than `most`.
pub fn measurements(
    effect: f64,
    spread: f64,
    wanted: f64,
    confidence: Confidence,
    most: u64,
) -> Option<u64> {
    let enough = |n: u64| {
        let n = n as f64;
        power(effect.abs() * n.sqrt() / spread, n - 1.0, confidence) >= wanted
    };
    fewest(2, most, enough)
}

/// The smallest number from `low` to `most` that is `enough`, of which all larger ones are, too.
pub fn fewest(low: u64, most: u64, enough: impl Fn(u64) -> bool) -> Option<u64> {
    let (mut short, mut high) = (low.saturating_sub(1), low);
    while !enough(high) {
        if high >= most {
            return None;
        }
        (short, high) = (high, high.saturating_mul(2).min(most));
    }
    while high - short > 1 {
        let middle = short + (high - short) / 2;
        match enough(middle) {
            true => high = middle,
            false => short = middle,
        }
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(share: f64) -> Confidence {
        Confidence::new(share).unwrap()
    }

    /// Two measurements show what is a million times their spread, and that is known at once.
    #[test]
    fn large_effects_take_no_time() {
        for spread in [1e-6, 1e-9, 1e-300] {
            assert_eq!(measurements(0.2, spread, 0.8, at(0.95), 1 << 20), Some(2));
        }
    }

    /// As scipy 1.17's `nct.cdf` has them.
    #[test]
    fn the_noncentral_t_is_scipys() {
        for (t, freedom, delta, expected) in [
            (1.0, 3.0, 0.5, 0.6515283330101278),
            (12.7, 1.0, 6.0, 0.6376527675644696),
            (-2.0, 10.0, 1.0, 0.003302485766631467),
            (2.3, 7.5, 0.0, 0.9737135519478155),
            (50.0, 2.5, 30.0, 0.7445141658828379),
            (40.0, 500.0, 45.0, 0.0009933022883994286),
            (0.0, 3.0, 1.0, 0.15865525393145707),
            (2.0, 1000.0, 4.0, 0.022831135082277354),
        ] {
            let found = noncentral_t_cdf(t, freedom, delta);
            assert!((found - expected).abs() < 1e-9, "{t} {freedom} {delta}: {found} {expected}");
        }
    }

    /// As scipy's `nct.sf(c, ν, δ) + nct.cdf(-c, ν, δ)` has them, c = `t.isf(α/2, ν)`.
    #[test]
    fn power_is_scipys() {
        for (delta, freedom, share, expected) in [
            (3.0, 4.5, 0.95, 0.6487310235315591),
            (2.8016, 1e6, 0.95, 0.8000043455989296),
            (1.0, 2.0, 0.95, 0.09520175549788391),
            (20.0, 1.0, 0.95, 0.8833944429330349),
            (4.0, 12.0, 0.99, 0.8049869002363874),
        ] {
            let found = power(delta, freedom, at(share));
            assert!((found - expected).abs() < 1e-7, "{delta} {freedom}: {found} {expected}");
            let back = detectable(freedom, found, at(share));
            assert!((back - delta).abs() < 1e-6, "{delta} {freedom}: {back}");
        }
        assert!((detectable_normal(0.8, at(0.95)) - 2.801585).abs() < 1e-5);
    }

    /// statsmodels 0.15's `TTestPower().solve_power` has 33.37, 5.69, 264.61, 6.31 and 2.48: the next whole numbers.
    #[test]
    fn numbers_of_measurements_are_statsmodels() {
        for (effect, wanted, share, expected) in [
            (0.5, 0.8, 0.95, 34),
            (1.5, 0.8, 0.95, 6),
            (0.2, 0.9, 0.95, 265),
            (2.0, 0.8, 0.99, 7),
            (5.0, 0.8, 0.95, 3),
        ] {
            assert_eq!(measurements(effect, 1.0, wanted, at(share), 1000), Some(expected));
            assert_eq!(measurements(-3.0 * effect, 3.0, wanted, at(share), 1000), Some(expected));
        }
        assert_eq!(measurements(0.01, 1.0, 0.8, at(0.95), 1000), None);
    }

    #[test]
    fn the_fewest_that_are_enough_are_found() {
        for wanted in [1, 2, 3, 7, 64, 999] {
            assert_eq!(fewest(1, 1000, |n| n >= wanted), Some(wanted));
        }
        assert_eq!(fewest(5, 1000, |_| true), Some(5));
        assert_eq!(fewest(1, 1000, |n| n > 1000), None);
    }
}
