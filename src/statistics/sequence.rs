//! The stopping rule of a campaign: a confidence sequence, whose intervals stay valid although they are looked
//! at while injections come in.
//!
//! An ordinary interval loses its confidence level if it is looked at again and again until it is narrow
//! enough: each look is another chance to miss. Here looks are at n = 2^j injections of a layer, in the order of
//! their numbers, and look i = 1, 2, … may miss with probability α_i = α/(i(i+1)), of which the sum is α. So with
//! probability 1 − α the intervals of all looks contain the true value (union bound), that at which a layer
//! stops among them. Intervals of earlier looks aren't intersected: each contains its own estimate, and the last
//! is hardly ever the wider. Where a campaign has a most that it injects, the last look is there, whether or not
//! that is a power of two. It is look k, may miss with all of α that is left, α/k, and stops nothing.
//!
//! Given the images, injections of a layer are independent draws, so that a rate's interval is Clopper and
//! Pearson's; the mean of |Δp_label|, between 0 and 1, has Maurer and Pontil's (2009, *Empirical Bernstein
//! bounds and sample variance penalization*, theorem 4): with probability 1 − δ
//!
//!   |mean − μ| ≤ √(2·V·ln(4/δ)/n) + 7·ln(4/δ)/(3(n−1)),   V the sample's variance.
//!
//! The first look is at the least 2^j at which a layer without any event would stop, which no data decide.

use std::fmt;

use serde::{Deserialize, Serialize};
use strum::{EnumIter, EnumString, IntoEnumIterator, IntoStaticStr};

use super::interval::{Confidence, Estimate, clopper_pearson};
use crate::{Error, Result};

/// When the injections of a layer stop.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoppingRule {
    pub target: Target,
    /// Stop when neither end of the interval is further from the estimate.
    pub half_width: f64,
    /// Joint confidence of all looks at a layer.
    pub confidence: Confidence,
}

/// Figures that a rule can watch: their observations are bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[derive(EnumIter, EnumString, IntoStaticStr)]
#[strum(serialize_all = "kebab-case", parse_err_ty = Error, parse_err_fn = unknown)]
pub enum Target {
    Sdc,
    Sdc5,
    Nonfinite,
    SdcOrNonfinite,
    Masked,
    /// The mean of |Δp_label|, 1 where an answer isn't finite.
    DeltaP,
}

impl Target {
    /// The word on the command line and in files.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

fn unknown(word: &str) -> Error {
    match word {
        "delta-loss" => Error::usage(format!(
            "ΔLoss has no bound, so that no rule may stop at its interval; what can be watched: {}",
            Target::iter().map(Target::name).collect::<Vec<_>>().join(", ")
        )),
        word => Error::unknown::<Target>("figure to stop at", word),
    }
}

impl fmt::Display for StoppingRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StoppingRule { target, half_width, confidence } = self;
        write!(f, "{} within ±{half_width} ({confidence} over all looks)", target.name())
    }
}

/// The most doublings of a sequence: more injections than anyone runs.
const MAX_EXPONENT: u32 = 40;

impl StoppingRule {
    /// A rule that watches `target`.
    ///
    /// # Errors
    /// A half-width that isn't between 0 and 0.5, or is so small that 2^40 injections can't reach it.
    pub fn new(target: Target, half_width: f64, confidence: Confidence) -> Result<StoppingRule> {
        let rule = StoppingRule { target, half_width, confidence };
        rule.check()?;
        Ok(rule)
    }

    /// Refuses what [`StoppingRule::new`] does; for rules out of a file.
    pub fn check(&self) -> Result<()> {
        let half_width = self.half_width;
        if !(half_width > 0.0 && half_width < 0.5) {
            return Err(Error::usage(format!(
                "a half-width to stop at lies between 0 and 0.5, not at {half_width}"
            )));
        }
        if self.first_exponent() >= MAX_EXPONENT {
            return Err(Error::usage(format!(
                "no campaign reaches a half-width of {half_width}: it takes 2^{MAX_EXPONENT} injections a \
                 layer"
            )));
        }
        Ok(())
    }

    /// Injections of a layer after which look `i`, from 0, is due.
    pub fn look_at(&self, i: u32) -> u64 {
        1 << (self.first_exponent() + i).min(63)
    }

    /// The looks at a layer of at most `most` injections, of which the last is at `most`; none where there are
    /// too few injections for any.
    pub fn looks_within(&self, most: u64) -> Vec<u64> {
        let first = self.first_exponent();
        let doublings = (first..63).map(|exponent| 1 << exponent);
        let mut looks: Vec<u64> = doublings.take_while(|look| *look <= most).collect();
        if looks.last().is_some_and(|last| *last < most) {
            looks.push(most);
        }
        looks
    }

    /// A sequence of at most `most` injections that has seen nothing.
    pub fn sequence(&self, most: u64) -> Sequence {
        Sequence {
            rule: *self,
            most,
            next: self.look_at(0),
            looks: 0,
            injections: 0,
            sum: Moments::default(),
        }
    }

    fn first_exponent(&self) -> u32 {
        let stops = |exponent: &u32| {
            let n = (1u64 << exponent) as f64;
            let none = Moments { count: n, ..Moments::default() };
            self.is_narrow(&self.interval(&none, self.alpha_at(1)))
        };
        (1..MAX_EXPONENT).find(stops).unwrap_or(MAX_EXPONENT)
    }

    /// What look number `look`, from 1, may miss with while others are to come.
    fn alpha_at(&self, look: u32) -> f64 {
        self.confidence.alpha() / (f64::from(look) * f64::from(look + 1))
    }

    /// Whether look number `look`, from 1, at `n` injections of which `events` had an event, is narrow enough
    /// while others are to come.
    pub(super) fn stops(&self, events: u64, n: u64, look: u32) -> bool {
        let (events, n) = (events as f64, n as f64);
        self.is_narrow(&clopper_pearson(events, n, self.alpha_at(look)))
    }

    /// The interval of a look that may miss with `alpha`.
    fn interval(&self, seen: &Moments, alpha: f64) -> Estimate {
        match self.target {
            Target::DeltaP => empirical_bernstein(seen, alpha),
            _ => clopper_pearson(seen.mean * seen.count, seen.count, alpha),
        }
    }

    fn is_narrow(&self, estimate: &Estimate) -> bool {
        let Estimate { value, low, high } = estimate;
        value - low <= self.half_width && high - value <= self.half_width
    }
}

/// One look at a sequence: its interval after so many injections.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Look {
    /// Injections of the layer, nonfinite answers included.
    pub n: u64,
    pub estimate: Estimate,
    /// Whether the interval is narrow enough.
    pub stop: bool,
}

/// A layer's confidence sequence: the observations so far, and when the next look is due.
#[derive(Clone, Copy, Debug)]
pub struct Sequence {
    rule: StoppingRule,
    most: u64,
    next: u64,
    looks: u32,
    injections: u64,
    sum: Moments,
}

impl Sequence {
    /// Takes the next injection's observation, a value between 0 and 1, or NaN for one that is left out;
    /// at a look, what it says.
    ///
    /// Observations must come in the order of the injections' numbers: in another order, which of them are
    /// seen first could depend on their values.
    pub fn push(&mut self, value: f64) -> Option<Look> {
        self.injections += 1;
        if !value.is_nan() {
            self.sum.push(value);
        }
        if self.injections < self.next {
            return None;
        }
        self.looks += 1;
        let is_last = self.injections >= self.most;
        self.next = match is_last {
            true => u64::MAX,
            false => self.rule.look_at(self.looks).min(self.most),
        };
        let alpha = match is_last {
            true => self.rule.confidence.alpha() / f64::from(self.looks),
            false => self.rule.alpha_at(self.looks),
        };
        let estimate = self.rule.interval(&self.sum, alpha);
        Some(Look { n: self.injections, estimate, stop: self.rule.is_narrow(&estimate) })
    }

    /// Injections of the layer that must be there for the next look; `u64::MAX` after the last.
    pub fn next_look(&self) -> u64 {
        self.next
    }
}

/// Number, mean and sum of squared deviations, after Welford (1962).
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn push(&mut self, value: f64) {
        self.count += 1.0;
        let off = value - self.mean;
        self.mean += off / self.count;
        self.squares += off * (value - self.mean);
    }
}

/// Maurer and Pontil's interval for the mean of values between 0 and 1.
fn empirical_bernstein(seen: &Moments, alpha: f64) -> Estimate {
    let n = seen.count;
    if n < 2.0 {
        let value = if n > 0.0 { seen.mean } else { f64::NAN };
        return Estimate { value, low: 0.0, high: 1.0 };
    }
    let ln = (4.0 / alpha).ln();
    let variance = seen.squares / (n - 1.0);
    let half = (2.0 * variance * ln / n).sqrt() + 7.0 * ln / (3.0 * (n - 1.0));
    let value = seen.mean.clamp(0.0, 1.0);
    Estimate { value, low: (value - half).max(0.0), high: (value + half).min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::super::interval::wilson;
    use super::*;
    use crate::rng::{self, Draw};

    fn rule(target: Target, half_width: f64) -> StoppingRule {
        StoppingRule::new(target, half_width, Confidence::P95).unwrap()
    }

    /// By hand: without an event the upper end is 1 − (α_1/2)^(1/n), α_1 = 0.025: 0.0663 at 64 and 0.0337
    /// at 128. 7·ln(4/α_1)/(3(n−1)) = 0.0928 at 128 and 0.0464 at 256.
    #[test]
    fn the_first_look_is_the_first_that_could_stop() {
        assert_eq!(rule(Target::Sdc, 0.05).look_at(0), 128);
        assert_eq!(rule(Target::DeltaP, 0.05).look_at(0), 256);
        let mut sequence = rule(Target::Sdc, 0.05).sequence(u64::MAX);
        assert_eq!(sequence.next_look(), 128);
        let looks: Vec<Look> = (0..128).filter_map(|_| sequence.push(0.0)).collect();
        assert_eq!((looks.len(), looks[0].n, looks[0].stop), (1, 128, true));
        assert!((looks[0].estimate.high - (1.0 - 0.0125f64.powf(1.0 / 128.0))).abs() < 1e-12);
        assert_eq!(sequence.next_look(), 256);
    }

    #[test]
    fn looks_double_and_spend_less_and_less() {
        let rule = rule(Target::Sdc, 0.001);
        let mut sequence = rule.sequence(u64::MAX);
        let looks: Vec<Look> =
            (0..1u64 << 16).filter_map(|n| sequence.push((n % 4 / 3) as f64)).collect();
        let at: Vec<u64> = looks.iter().map(|look| look.n).collect();
        assert_eq!(at, [1 << 13, 1 << 14, 1 << 15, 1 << 16]);
        for (look, alpha) in looks.iter().zip([0.025, 0.05 / 6.0, 0.05 / 12.0, 0.05 / 20.0]) {
            let n = look.n as f64;
            let Estimate { low, high, .. } = clopper_pearson(n / 4.0, n, alpha);
            let off = (look.estimate.low - low).abs() + (look.estimate.high - high).abs();
            assert!(off < 1e-9, "{look:?}");
            assert!(!look.stop);
        }
    }

    /// The case of 2,000 injections at ±0.01: looks at 512 and 1,024 (without an event the upper end is
    /// 0.0085 at 512, α_1/2 = 0.0125) and at the end, which spends what is left. Where the most is a power of
    /// two, its look is the last; where it is too small there is none.
    #[test]
    fn the_most_has_a_look_of_its_own() {
        let rule = rule(Target::Sdc, 0.01);
        assert_eq!(rule.looks_within(2000), [512, 1024, 2000]);
        assert_eq!(rule.looks_within(1024), [512, 1024]);
        assert!(rule.looks_within(511).is_empty());
        let mut sequence = rule.sequence(2000);
        let looks: Vec<Look> =
            (0..2500).filter_map(|n| sequence.push(f64::from(u8::from(n % 40 == 0)))).collect();
        let at: Vec<u64> = looks.iter().map(|look| look.n).collect();
        assert_eq!(at, [512, 1024, 2000]);
        // 0.05/2 and 0.05/6 are spent; a third of 0.05 is left.
        let Estimate { low, high, .. } = clopper_pearson(50.0, 2000.0, 0.05 / 3.0);
        let last = looks[2].estimate;
        assert!((last.low - low).abs() + (last.high - high).abs() < 1e-12, "{last:?}");
        assert!(looks[2].stop && !looks[1].stop);
        assert_eq!(sequence.next_look(), u64::MAX);
    }

    /// Half of the observations are 0.2, half 0.6: variance 0.04·n/(n−1).
    #[test]
    fn bounded_means_get_bernstein_s_interval() {
        let rule = rule(Target::DeltaP, 0.04);
        let n = rule.look_at(0);
        let mut sequence = rule.sequence(u64::MAX);
        let look = (0..n).filter_map(|i| sequence.push([0.2, 0.6][i as usize % 2])).last().unwrap();
        let (n, ln) = (n as f64, (4.0f64 / 0.025).ln());
        let half = (2.0 * 0.04 / (n - 1.0) * ln).sqrt() + 7.0 * ln / (3.0 * (n - 1.0));
        assert!((look.estimate.value - 0.4).abs() < 1e-12);
        assert!((look.estimate.high - 0.4 - half).abs() < 1e-9 && !look.stop);
        // What isn't finite takes part in the count of injections alone.
        let mut sequence = rule.sequence(u64::MAX);
        let nothing = (0..n as u64).filter_map(|_| sequence.push(f64::NAN)).last().unwrap();
        assert!(nothing.estimate.value.is_nan() && !nothing.stop);
    }

    /// 1,000 campaigns of a rate and of a bounded mean, each looked at until it stops: at most 5 % of the
    /// intervals at the stop may miss (and hardly any does, since bounds are added up).
    #[test]
    fn what_stops_a_campaign_covers_the_truth() {
        for (target, rate) in
            [(Target::Sdc, 0.02), (Target::Sdc, 0.3), (Target::DeltaP, 0.02), (Target::DeltaP, 0.3)]
        {
            let rule = rule(target, 0.05);
            let mut missed = 0;
            for trial in 0..1000 {
                let mut draws = rng::stream(trial, "stopping");
                let mut sequence = rule.sequence(u64::MAX);
                let stopped = std::iter::repeat_with(|| {
                    let event = draws.chance(rate);
                    // Of a bounded mean an event is worth 0.5 on average.
                    let size = if target == Target::DeltaP { draws.unit() } else { 1.0 };
                    if event { size } else { 0.0 }
                })
                .find_map(|value| sequence.push(value).filter(|look| look.stop))
                .unwrap();
                let truth = if target == Target::DeltaP { rate / 2.0 } else { rate };
                missed += usize::from(!stopped.estimate.holds(truth));
            }
            assert!(missed <= 50, "{target:?} at {rate}: {missed} of 1000 missed");
        }
    }

    /// All looks of a sequence together miss with the probability that is allowed; ordinary intervals at the
    /// same looks miss somewhere far more often, which is what the rule is for.
    #[test]
    fn all_looks_hold_together() {
        let rule = rule(Target::Sdc, 0.05);
        let (mut rule_missed, mut ordinary_missed) = (0, 0);
        for trial in 0..400 {
            let mut draws = rng::stream(trial, "looks");
            let mut sequence = rule.sequence(u64::MAX);
            let (mut events, mut missed) = (0.0, [false, false]);
            for n in 1..=1u64 << 14 {
                let event = f64::from(u8::from(draws.chance(0.1)));
                events += event;
                if let Some(look) = sequence.push(event) {
                    assert_eq!(look.n, n);
                    let ordinary = wilson(events, n as f64, Confidence::P95.z());
                    missed[0] |= !look.estimate.holds(0.1);
                    missed[1] |= !ordinary.holds(0.1);
                }
            }
            rule_missed += usize::from(missed[0]);
            ordinary_missed += usize::from(missed[1]);
        }
        assert!(rule_missed <= 20 && ordinary_missed >= 60, "{rule_missed}, {ordinary_missed}");
    }

    #[test]
    fn rules_that_can_t_stop_are_refused() {
        let refused = |target, half_width| {
            StoppingRule::new(target, half_width, Confidence::P95).unwrap_err().to_string()
        };
        assert!(refused(Target::Sdc, 0.0).contains("between 0 and 0.5"));
        assert!(refused(Target::Sdc, f64::NAN).contains("between 0 and 0.5"));
        assert!(refused(Target::Sdc, 1e-13).contains("2^40"));
        assert!("delta-loss".parse::<Target>().unwrap_err().to_string().contains("no bound"));
        assert!("x".parse::<Target>().unwrap_err().to_string().contains("sdc-or-nonfinite"));
        assert_eq!("delta-p".parse::<Target>().unwrap(), Target::DeltaP);
    }
}
