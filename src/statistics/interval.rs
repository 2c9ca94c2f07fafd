//! Intervals of rates: Wilson's and Clopper and Pearson's, at any confidence.
//!
//! The crates that have a beta quantile weren't taken: statrs 0.19 ends its continued fraction after 140
//! terms, which is too few beyond some 20,000 trials, and brings four versions of glam and nalgebra into the
//! lock file; puruspe approximates large arguments. What is needed is short.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strum::{EnumIter, EnumString, IntoStaticStr};

use crate::{Error, Result};

/// A figure with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Estimate {
    /// All three times `factor`, which is positive.
    pub fn times(self, factor: f64) -> Estimate {
        let Estimate { value, low, high } = self;
        Estimate { value: factor * value, low: factor * low, high: factor * high }
    }

    /// A value without an interval: its ends are NaN, which tables leave out.
    pub fn alone(value: f64) -> Estimate {
        Estimate { value, low: f64::NAN, high: f64::NAN }
    }

    /// Of a logarithm, that of the number itself.
    pub fn exponential(self) -> Estimate {
        let Estimate { value, low, high } = self;
        Estimate { value: value.exp(), low: low.exp(), high: high.exp() }
    }

    /// Whether the interval holds `value`, its ends included.
    pub fn holds(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// A confidence level: the share of intervals that contain the true value. Between 0 and 1, both excluded.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Confidence(f64);

impl Confidence {
    /// 95 %.
    pub const P95: Confidence = Confidence(0.95);

    /// A confidence of `share`.
    ///
    /// # Errors
    /// [`Error::Usage`] where it doesn't lie between 0 and 1.
    pub fn new(share: f64) -> Result<Confidence> {
        if share > 0.0 && share < 1.0 {
            return Ok(Confidence(share));
        }
        Err(Error::usage(format!(
            "a confidence lies between 0 and 1, as 0.95 does, not at {share}"
        )))
    }

    /// The share, 0.95 for 95 %.
    pub fn share(self) -> f64 {
        self.0
    }

    /// The share of intervals that may miss the true value: 1 − confidence.
    pub fn alpha(self) -> f64 {
        1.0 - self.0
    }

    /// The two-sided quantile of the normal distribution: 1.96 of 95 %.
    pub fn z(self) -> f64 {
        two_sided_normal(self.alpha())
    }
}

impl Default for Confidence {
    fn default() -> Self {
        Confidence::P95
    }
}

impl TryFrom<f64> for Confidence {
    type Error = Error;

    fn try_from(share: f64) -> Result<Confidence> {
        Confidence::new(share)
    }
}

impl From<Confidence> for f64 {
    fn from(confidence: Confidence) -> f64 {
        confidence.0
    }
}

impl FromStr for Confidence {
    type Err = Error;

    fn from_str(text: &str) -> Result<Confidence> {
        let share = text.parse().map_err(|_| {
            Error::usage(format!("a confidence is a number such as 0.95, not '{text}'"))
        })?;
        Confidence::new(share)
    }
}

/// In percent: `95 %`, `99.9 %`.
impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = format!("{:.6}", 100.0 * self.0);
        write!(f, "{} %", percent.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// So many events are few for Wilson's interval.
const FEW_EVENTS: f64 = 3.0;

/// Which interval a rate gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[derive(EnumIter, EnumString, IntoStaticStr)]
#[strum(serialize_all = "kebab-case", parse_err_ty = Error, parse_err_fn = unknown)]
pub enum RateInterval {
    /// [`wilson`]: its coverage is the confidence level on average over rates. Near 0 and 1 it can be lower, so
    /// that of one to three events, or of all but so few, the end at their side is the exact one-sided one, if that
    /// is further (Brown, Cai and DasGupta, 2001, *Interval estimation for a binomial proportion*, section 4.1.1,
    /// there with Poisson's quantile).
    #[default]
    Wilson,
    /// [`clopper_pearson`]: its coverage is at least the confidence level at every rate; wider.
    ClopperPearson,
}

impl RateInterval {
    /// The word on the command line.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The words in a table's footer.
    pub const fn words(self) -> &'static str {
        match self {
            RateInterval::Wilson => "Wilson's",
            RateInterval::ClopperPearson => "Clopper and Pearson's",
        }
    }

    /// The interval of `successes` in `n` trials; either may be an effective number, not whole.
    pub fn of(self, successes: f64, n: f64, confidence: Confidence) -> Estimate {
        match self {
            RateInterval::Wilson => {
                let Estimate { value, low, high } = wilson(successes, n, confidence.z());
                let exact = |events: f64| match events {
                    x if x > 0.0 && x <= FEW_EVENTS => {
                        beta_quantile(confidence.alpha(), x, n - x + 1.0)
                    }
                    _ => f64::INFINITY,
                };
                let (low, high) = (low.min(exact(successes)), high.max(1.0 - exact(n - successes)));
                Estimate { value, low, high }
            }
            RateInterval::ClopperPearson => clopper_pearson(successes, n, confidence.alpha()),
        }
    }
}

fn unknown(word: &str) -> Error {
    Error::unknown::<RateInterval>("interval", word)
}

/// With no trials the interval is [0, 1].
const NOTHING: Estimate = Estimate { value: f64::NAN, low: 0.0, high: 1.0 };

/// The score interval of Wilson (1927) for `successes` of `n`, both possibly effective (fractional)
/// numbers; `z` normal quantiles wide.
pub fn wilson(successes: f64, n: f64, z: f64) -> Estimate {
    if n <= 0.0 {
        return NOTHING;
    }
    let value = (successes / n).clamp(0.0, 1.0);
    let centre = (successes + z * z / 2.0) / (n + z * z);
    let half = z / (n + z * z) * (n * value * (1.0 - value) + z * z / 4.0).sqrt();
    let (low, high) = (centre - half, centre + half);
    // At the ends one bound is exact; rounding must not move it past the value.
    Estimate { value, low: low.clamp(0.0, value), high: high.clamp(value, 1.0) }
}

/// The interval of Clopper and Pearson (1934) for `successes` of `n`, which misses a rate with a
/// probability of at most `alpha`: the rates that neither one-sided test at alpha/2 refuses, quantiles of
/// beta distributions. With effective numbers it is Korn and Graubard's (1998).
pub fn clopper_pearson(successes: f64, n: f64, alpha: f64) -> Estimate {
    if n <= 0.0 {
        return NOTHING;
    }
    let failures = (n - successes).max(0.0);
    let value = (successes / n).clamp(0.0, 1.0);
    let low = match successes {
        x if x > 0.0 => beta_quantile(alpha / 2.0, x, failures + 1.0),
        _ => 0.0,
    };
    // By symmetry, so that small rates of failure are as exact as small rates of success.
    let high = match failures {
        x if x > 0.0 => 1.0 - beta_quantile(alpha / 2.0, x, successes + 1.0),
        _ => 1.0,
    };
    Estimate { value, low: low.clamp(0.0, value), high: high.clamp(value, 1.0) }
}

/// The z that a standard normal variable exceeds in size with probability `alpha`.
pub fn two_sided_normal(alpha: f64) -> f64 {
    bisect(0.0, 40.0, |z| libm::erfc(z / std::f64::consts::SQRT_2) > alpha)
}

/// The distribution function of the standard normal.
pub fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
}

/// Its inverse.
pub fn normal_quantile(p: f64) -> f64 {
    let z = two_sided_normal(2.0 * p.min(1.0 - p));
    if p < 0.5 { -z } else { z }
}

/// The t that Student's variable of `freedom` degrees of freedom, whole or not, exceeds in size with
/// probability `alpha` (DLMF 8.17 by the beta distribution of ν/(ν + t²)).
pub fn two_sided_student(alpha: f64, freedom: f64) -> f64 {
    let x = beta_quantile(alpha, freedom / 2.0, 0.5);
    (freedom * (1.0 - x) / x).sqrt()
}

/// The probability that Student's variable of `freedom` degrees of freedom exceeds `t` in size: the inverse of
/// [`two_sided_student`].
pub fn two_sided_student_p(t: f64, freedom: f64) -> f64 {
    regularized_beta(freedom / (freedom + t * t), freedom / 2.0, 0.5)
}

/// The x below which a beta variable of parameters `a`, `b` > 0 lies with probability `p`.
pub fn beta_quantile(p: f64, a: f64, b: f64) -> f64 {
    bisect(0.0, 1.0, |x| regularized_beta(x, a, b) < p)
}

/// Where `is_below`, true from `low` on, stops being so.
fn bisect(mut low: f64, mut high: f64, is_below: impl Fn(f64) -> bool) -> f64 {
    loop {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high || high - low < 1e-15 * high {
            return middle;
        }
        if is_below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
}

/// I_x(a, b), the distribution function of the beta distribution, by its continued fraction (DLMF 8.17.22)
/// after Lentz; it settles within some √max(a, b) terms on the side of the mean that is taken.
pub fn regularized_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return if x <= 0.0 { 0.0 } else { 1.0 };
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - regularized_beta_left(1.0 - x, b, a);
    }
    regularized_beta_left(x, a, b)
}

fn regularized_beta_left(x: f64, a: f64, b: f64) -> f64 {
    let ln_beta = libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b);
    let front = (a * x.ln() + b * (-x).ln_1p() - ln_beta).exp() / a;
    let keep = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let (mut c, mut d) = (1.0, 1.0 / keep(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    let terms = 100 + 20 * a.max(b).sqrt() as u64;
    for m in (1..terms).map(|m| m as f64) {
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for coefficient in [even, odd] {
            d = 1.0 / keep(1.0 + coefficient * d);
            c = keep(1.0 + coefficient / c);
            fraction *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-15 {
            break;
        }
    }
    front * fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(estimate: Estimate, low: f64, high: f64, tolerance: f64) {
        let is_near = |a: f64, b: f64| (a - b).abs() < tolerance;
        assert!(is_near(estimate.low, low) && is_near(estimate.high, high), "{estimate:?}");
    }

    /// Bounds by hand from the formula: 0 of 10 gives (0, z²/(n+z²)); 5 of 10 is symmetric,
    /// 0.5 ± z/(n+z²)·√(n/4 + z²/4); and the textbook case 81 of 263 gives (0.2553, 0.3662)
    /// (Newcombe, 1998, table I, method 3).
    #[test]
    fn wilson_gives_known_values() {
        let z = Confidence::P95.z();
        let z2 = z * z;
        let none = wilson(0.0, 10.0, z);
        assert_eq!((none.value, none.low), (0.0, 0.0));
        assert!((none.high - z2 / (10.0 + z2)).abs() < 1e-12);
        let half = wilson(5.0, 10.0, z);
        assert!((half.low + half.high - 1.0).abs() < 1e-12);
        assert!((half.high - 0.5 - z / (10.0 + z2) * (2.5 + z2 / 4.0).sqrt()).abs() < 1e-12);
        near(wilson(81.0, 263.0, z), 0.2553, 0.3662, 5e-5);
        assert_eq!(wilson(7.0, 7.0, z).high, 1.0);
        assert!(wilson(0.0, 0.0, z).value.is_nan());
    }

    /// Without a success the upper bound is 1 − (α/2)^(1/n). The others are where binomial tails, added up
    /// term by term in Python (`math.fsum`), reach α/2.
    #[test]
    fn clopper_pearson_gives_known_values() {
        near(clopper_pearson(0.0, 10.0, 0.05), 0.0, 1.0 - 0.025f64.powf(0.1), 1e-13);
        near(clopper_pearson(1e6, 1e6, 0.01), 0.005f64.powf(1e-6), 1.0, 1e-13);
        near(clopper_pearson(5.0, 10.0, 0.05), 0.187086028447, 0.812913971553, 1e-11);
        near(clopper_pearson(81.0, 263.0, 0.05), 0.252736745585, 0.367621922601, 1e-11);
        near(clopper_pearson(1.0, 1000.0, 0.01), 0.000005012529, 0.007406286938, 1e-11);
        // More terms of the continued fraction than some implementations take.
        near(clopper_pearson(2e4, 6e4, 0.05), 0.329561182037, 0.337121610815, 1e-9);
        assert!(clopper_pearson(0.0, 0.0, 0.05).value.is_nan());
    }

    /// Every interval of Clopper and Pearson's covers every rate: the binomial's own probabilities of the
    /// counts whose interval holds it, added up. Wilson's own falls to 84 % near 0, and what is printed of it to
    /// 92.8 % (the same with scipy's binomial and beta distributions).
    #[test]
    fn intervals_of_rates_cover() {
        let n = 40;
        let coverage = |interval: &dyn Fn(f64, f64) -> Estimate, rate: f64| -> f64 {
            let mut probability = (1.0 - rate).powi(n);
            let mut covered = 0.0;
            for count in 0..=n {
                let estimate = interval(f64::from(count), f64::from(n));
                covered += if estimate.holds(rate) { probability } else { 0.0 };
                probability *= f64::from(n - count) / f64::from(count + 1) * rate / (1.0 - rate);
            }
            covered
        };
        let rates = || (1..4000).map(|i| f64::from(i) / 4000.0);
        let least = |interval: &dyn Fn(f64, f64) -> Estimate| {
            rates().map(|p| coverage(interval, p)).fold(1.0, f64::min)
        };
        let printed = |kind: RateInterval| move |x, n| kind.of(x, n, Confidence::P95);
        assert!(least(&printed(RateInterval::ClopperPearson)) >= 0.95);
        assert!(least(&|x, n| wilson(x, n, Confidence::P95.z())) < 0.85);
        assert!(least(&printed(RateInterval::Wilson)) > 0.925);
        let mean =
            rates().map(|p| coverage(&printed(RateInterval::Wilson), p)).sum::<f64>() / 3999.0;
        assert!((mean - 0.953).abs() < 0.002, "{mean}");
    }

    /// Tables of Student's distribution, and one of a fractional number (scipy.stats.t.ppf).
    #[test]
    fn student_s_quantiles_are_those_of_tables() {
        for (alpha, freedom, t) in [
            (0.05, 1.0, 12.706204736174698),
            (0.05, 2.0, 4.302652729749464),
            (0.01, 10.0, 3.169272672616872),
            (0.05, 3.7, 2.8675207071911895),
            (0.05, 1e6, 1.959966356814107),
        ] {
            let found = two_sided_student(alpha, freedom);
            assert!((found - t).abs() < 1e-8 * t, "{alpha}, {freedom}: {found}");
        }
    }

    /// Quantiles as Python's `statistics.NormalDist` has them.
    #[test]
    fn confidences_are_checked_and_become_quantiles() {
        for (text, z, percent) in [
            ("0.95", 1.9599639845400536, "95 %"),
            ("0.99", 2.5758293035489, "99 %"),
            ("0.999", 3.2905267314919255, "99.9 %"),
        ] {
            let confidence: Confidence = text.parse().unwrap();
            assert!((confidence.z() - z).abs() < 1e-12);
            assert_eq!(confidence.to_string(), percent);
            assert!((normal_quantile(0.5 + confidence.share() / 2.0) - z).abs() < 1e-12);
            assert!((normal_cdf(-z) - confidence.alpha() / 2.0).abs() < 1e-13);
        }
        for wrong in ["0", "1", "95", "-0.5", "NaN", "much"] {
            assert!(wrong.parse::<Confidence>().unwrap_err().to_string().contains("confidence"));
        }
    }
}
