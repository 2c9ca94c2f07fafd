//! One image's fault-free answer, prepared so that a logit can be exchanged in constant time.
//!
//! With logit k exchanged for z′, L′ = −z′_y + log(Σ_{j≠k} e^(z_j − M) + e^(z′ − M)) + M with M =
//! max(z′, max_{j≠k} z_j). The sums that leave k out are taken once an image, as prefix plus suffix:
//! subtracting e^(z_k) from a whole sum would overflow and cancel. At a temperature T every exponent is divided by it.

use crate::logits::{Score, argmax, before, rank};
use crate::results::{Golden, Outcome};

/// What a fault did to an answer: what [`crate::results::Effect`] says, less the hash.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Faulty {
    pub outcome: Outcome,
    /// Whether the golden top-1 isn't among the faulty top-5, whatever the outcome.
    pub sdc5: bool,
    pub score: Score,
}

impl Faulty {
    /// As [`crate::results::Effect::is_sdc5`].
    pub fn is_sdc5(&self) -> bool {
        self.outcome == Outcome::Sdc && self.sdc5
    }
}

/// Classes that can matter to a top-5 which has lost one of its own.
const FIRST: usize = 6;

/// The fault-free answer to one image, see the module.
#[derive(Clone, Debug)]
pub struct GoldenAnswer<'a> {
    golden: &'a Golden,
    /// 1/T, by which differences of logits are multiplied.
    inverse: f64,
    /// The fault-free figures at this temperature.
    score: Score,
    /// Logits that aren't finite.
    nonfinite: usize,
    /// The first [`FIRST`] classes, in order.
    order: Vec<usize>,
    /// The classes that stay where the first, the second, or any later one is exchanged.
    others: [Others; 3],
    /// Σ_{j≠k} e^(z_j − the largest of them), by class k.
    rest: Vec<f64>,
}

/// The classes that an exchange leaves alone. Shares are of the largest of them: e^(z − largest).
#[derive(Clone, Copy, Debug)]
struct Others {
    /// The class that stands first among them, if there is one.
    first: Option<usize>,
    /// Its logit; −∞ without one.
    largest: f64,
    second_share: f64,
    label_share: f64,
}

impl<'a> GoldenAnswer<'a> {
    /// Prepares an answer: two exponentials a class.
    pub fn new(golden: &'a Golden) -> GoldenAnswer<'a> {
        GoldenAnswer::prepared(golden, 1.0, golden.score)
    }

    /// As [`GoldenAnswer::new`], with all logits divided by a temperature.
    pub fn at(golden: &'a Golden, temperature: f64) -> GoldenAnswer<'a> {
        let answer = GoldenAnswer::prepared(golden, 1.0 / temperature, golden.score);
        let score = if golden.is_finite { answer.of(&golden.logits).score } else { golden.score };
        GoldenAnswer { score, ..answer }
    }

    fn prepared(golden: &'a Golden, inverse: f64, score: Score) -> GoldenAnswer<'a> {
        let logits = &golden.logits;
        let mut order: Vec<usize> = Vec::with_capacity(FIRST + 1);
        for (k, z) in logits.iter().enumerate() {
            let place = order.partition_point(|j| before(logits[*j], *j, *z, k));
            if place < FIRST {
                order.insert(place, k);
                order.truncate(FIRST);
            }
        }
        let others = [0, 1, 2].map(|place| {
            let mut left = order.iter().enumerate().filter(|(i, _)| *i != place).map(|(_, k)| *k);
            let (first, second) = (left.next(), left.next());
            let largest = first.map_or(f64::NEG_INFINITY, |k| f64::from(logits[k]));
            let share = |k: usize| (inverse * (f64::from(logits[k]) - largest)).exp();
            Others {
                first,
                largest,
                second_share: second.map_or(0.0, share),
                label_share: share(golden.label as usize),
            }
        });
        GoldenAnswer {
            golden,
            nonfinite: logits.iter().filter(|z| !z.is_finite()).count(),
            rest: sums_without(logits, &order, &others, inverse),
            score,
            inverse,
            order,
            others,
        }
    }

    /// The fault-free figures at the answer's temperature.
    pub fn score(&self) -> &Score {
        &self.score
    }

    /// The fault-free answer that this was made of.
    pub fn golden(&self) -> &'a Golden {
        self.golden
    }

    /// What comes of it where the logit of `class` is `logit`.
    #[inline]
    pub fn with(&self, class: usize, logit: f32) -> Faulty {
        let golden = self.golden;
        let (label, old) = (golden.label as usize, golden.logits[class]);
        if logit.to_bits() == old.to_bits() && self.nonfinite == 0 {
            return Faulty { outcome: Outcome::Masked, sdc5: false, score: self.score };
        }
        let place = self.order[..self.order.len().min(2)].iter().position(|k| *k == class);
        let others = &self.others[place.unwrap_or(2)];
        let top1 = match others.first {
            Some(first) if before(golden.logits[first], first, logit, class) => first,
            _ => class,
        };
        // Nobody but the exchanged class can have overtaken a golden top-1 that stays.
        let sdc5 = place == Some(0)
            && self.order.get(5).is_some_and(|k| before(golden.logits[*k], *k, logit, class));
        let left = self.nonfinite - usize::from(!old.is_finite());
        if left > 0 || !logit.is_finite() {
            return Faulty { outcome: Outcome::Nonfinite, sdc5, score: Score::unknown(top1) };
        }
        let (value, largest) = (f64::from(logit), others.largest);
        let label_logit = if label == class { value } else { f64::from(golden.logits[label]) };
        let (total, top, label_share, second_share) = if value <= largest {
            let share = (self.inverse * (value - largest)).exp();
            let label_share = if label == class { share } else { others.label_share };
            (self.rest[class] + share, largest, label_share, others.second_share.max(share))
        } else {
            let share = (self.inverse * (largest - value)).exp();
            let label_share = if label == class { 1.0 } else { others.label_share * share };
            (self.rest[class] * share + 1.0, value, label_share, share)
        };
        let score = Score {
            top1,
            loss: total.ln() - self.inverse * (label_logit - top),
            p_label: label_share / total,
            top2diff: 100.0 * (1.0 - second_share) / total,
        };
        Faulty { outcome: self.outcome(logit.to_bits() == old.to_bits(), top1), sdc5, score }
    }

    /// What comes of it where all logits are others: one exponential a class.
    pub fn of(&self, logits: &[f32]) -> Faulty {
        let golden = self.golden;
        let top1 = argmax(logits);
        let sdc5 = rank(logits, golden.score.top1) >= 5;
        if logits.iter().any(|z| !z.is_finite()) {
            return Faulty { outcome: Outcome::Nonfinite, sdc5, score: Score::unknown(top1) };
        }
        let largest = f64::from(logits[top1]);
        let share = |z: f32| (self.inverse * (f64::from(z) - largest)).exp();
        let total: f64 = logits.iter().map(|z| share(*z)).sum();
        let left = logits.iter().enumerate().filter(|(k, _)| *k != top1).map(|(_, z)| *z);
        let second = left.fold(f32::NEG_INFINITY, f32::max);
        let label = logits[golden.label as usize];
        let score = Score {
            top1,
            loss: total.ln() - self.inverse * (f64::from(label) - largest),
            p_label: share(label) / total,
            top2diff: 100.0 * (1.0 - share(second)) / total,
        };
        let same = logits.iter().map(|z| z.to_bits()).eq(golden.logits.iter().map(|z| z.to_bits()));
        Faulty { outcome: self.outcome(same, top1), sdc5, score }
    }

    /// The outcome of finite logits.
    fn outcome(&self, same: bool, top1: usize) -> Outcome {
        if same {
            Outcome::Masked
        } else if top1 != self.golden.score.top1 {
            Outcome::Sdc
        } else {
            Outcome::Benign
        }
    }
}

/// Σ_{j≠k} e^(z_j − the largest of them), by k; exponents are multiplied by `inverse`.
fn sums_without(logits: &[f32], order: &[usize], others: &[Others; 3], inverse: f64) -> Vec<f64> {
    let share = |z: f32, largest: f64| (inverse * (f64::from(z) - largest)).exp();
    let Some(top) = order.first().copied() else { return Vec::new() };
    // All but the first class leave the first one in, so that it is the largest.
    let largest = others[2].largest;
    let mut rest = vec![0f64; logits.len()];
    let mut sum = 0f64;
    for (rest, z) in rest.iter_mut().zip(logits) {
        *rest = sum;
        sum += share(*z, largest);
    }
    let mut sum = 0f64;
    for (rest, z) in rest.iter_mut().zip(logits).rev() {
        *rest += sum;
        sum += share(*z, largest);
    }
    let below = logits.iter().enumerate().filter(|(k, _)| *k != top);
    rest[top] = below.map(|(_, z)| share(*z, others[0].largest)).sum();
    rest
}
