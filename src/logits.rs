//! Figures of logits: the order of classes, loss and probabilities, and the hash by which answers are told apart.
//!
//! The greatest logit stands first, a NaN before everything, as in PyTorch's `topk`; the lower index wins ties.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::number::canonical;
use crate::ops::cross_entropy::LogSoftmax;

pub use crate::ops::cross_entropy::{loss, probabilities};

/// Whether class `i` with logit `a` stands before class `j` with logit `b`.
pub fn before(a: f32, i: usize, b: f32, j: usize) -> bool {
    match (a.is_nan(), b.is_nan()) {
        (true, false) => true,
        (false, true) => false,
        (true, true) => i < j,
        _ => a > b || (a == b && i < j),
    }
}

/// The class that stands first.
pub fn argmax(logits: &[f32]) -> usize {
    (1..logits.len()).fold(0, |best, k| {
        let wins = before(logits[k], k, logits[best], best);
        if wins { k } else { best }
    })
}

/// All classes, in order.
pub fn order(logits: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&i, &j| match before(logits[i], i, logits[j], j) {
        true => Ordering::Less,
        false if i == j => Ordering::Equal,
        false => Ordering::Greater,
    });
    order
}

/// How many classes stand before `class`: 0 is top-1, below 5 is in the top-5.
pub fn rank(logits: &[f32], class: usize) -> usize {
    (0..logits.len()).filter(|k| before(logits[*k], *k, logits[class], class)).count()
}

/// Cross entropy in nats against `label`, in f64, with logits divided by `temperature`; NaN where a logit isn't finite.
pub fn loss_at(logits: &[f32], label: u32, temperature: f64) -> f64 {
    if !logits.iter().all(|z| z.is_finite()) {
        return f64::NAN;
    }
    let largest = logits.iter().fold(f64::NEG_INFINITY, |m, z| m.max(f64::from(*z)));
    let divided = |z: f32| (f64::from(z) - largest) / temperature;
    let total: f64 = logits.iter().map(|z| divided(*z).exp()).sum();
    total.ln() - divided(logits[label as usize])
}

/// Figures of an image's logits, computed in f64. Numbers are NaN where a logit isn't finite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The class of the greatest logit; the lowest index wins ties.
    pub top1: usize,
    /// Cross entropy against the label, in nats.
    pub loss: f64,
    /// Probability of the label.
    pub p_label: f64,
    /// 100·(p₁ − p₂), the two greatest probabilities, in percentage points.
    pub top2diff: f64,
}

impl Score {
    /// Judges the logits of an image of class `label`.
    pub fn of(logits: &[f32], label: u32) -> Score {
        match logits.iter().all(|z| z.is_finite()) {
            true => Score::computed(logits, label),
            false => Score::unknown(argmax(logits)),
        }
    }

    /// What is known of logits that aren't all finite: the class that stands first.
    pub fn unknown(top1: usize) -> Score {
        Score { top1, loss: f64::NAN, p_label: f64::NAN, top2diff: f64::NAN }
    }

    /// As [`Score::of`], but where a logit isn't finite the numbers are what the formulas make of it, as in
    /// PyTorch: −∞ is a class of no probability.
    pub fn computed(logits: &[f32], label: u32) -> Score {
        let top1 = argmax(logits);
        let log_softmax = LogSoftmax::of(logits);
        let log_p = |k: usize| log_softmax.at(logits[k]);
        // Of the others only those within 1e-9 of the greatest can have the greatest probability. It needn't be the
        // greatest itself: a computed `exp` may fall in its last digit where its argument grows.
        let others = || (0..logits.len()).filter(|k| *k != top1).map(log_p);
        let least = others().fold(f64::NEG_INFINITY, f64::max) - 1e-9;
        let second = others().filter(|p| *p >= least).map(f64::exp).fold(0.0, f64::max);
        Score {
            top1,
            loss: log_softmax.loss(logits[label as usize]),
            p_label: log_p(label as usize).exp(),
            top2diff: 100.0 * (log_p(top1).exp() - second),
        }
    }
}

/// The first eight bytes, little-endian, of the SHA-256 of the logits' bits, little-endian, with
/// every NaN as 0x7fc00000.
pub fn hash(logits: &[f32]) -> u64 {
    let mut hasher = Sha256::new();
    let mut bytes = [0; 1024];
    for logits in logits.chunks(bytes.len() / 4) {
        for (bytes, z) in bytes.chunks_exact_mut(4).zip(logits) {
            bytes.copy_from_slice(&canonical(z.to_bits()).to_le_bytes());
        }
        hasher.update(&bytes[..4 * logits.len()]);
    }
    let digest = hasher.finalize();
    let mut first = [0u8; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{self, Draw};

    #[test]
    fn ties_go_to_the_lower_index_and_nan_is_greatest() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(argmax(&[1.0, f32::INFINITY, f32::NAN, -f32::NAN]), 2);
        let logits = [2.0, 5.0, 2.0, f32::NAN];
        assert_eq!([0, 1, 2, 3].map(|class| rank(&logits, class)), [2, 1, 3, 0]);
        assert_eq!(order(&logits), [3, 1, 0, 2]);
        assert_eq!(order(&[f32::INFINITY, 0.0, f32::NAN, -0.0]), [2, 0, 1, 3]);
    }

    #[test]
    fn a_class_of_no_probability_leaves_the_others_theirs() {
        let logits = [1.0, f32::NEG_INFINITY, 1.0];
        let (score, computed) = (Score::of(&logits, 0), Score::computed(&logits, 0));
        assert!(score.loss.is_nan() && score.p_label.is_nan() && score.top2diff.is_nan());
        assert_eq!((computed.top1, computed.p_label, computed.top2diff), (0, 0.5, 0.0));
    }

    /// To the bit, whatever the logits are: ties, neighbours, others far away, and what isn't finite.
    #[test]
    fn figures_are_those_of_all_probabilities() {
        let mut draws = rng::stream(3, "logits");
        let odd = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN];
        for round in 0..4000 {
            let scale = 10f64.powi(draws.below(24) as i32 - 16);
            let count = 1 + draws.below(6) as usize;
            let mut logits: Vec<f32> =
                (0..count).map(|_| (scale * draws.between(-2.0, 2.0)) as f32).collect();
            let (from, to) = (draws.below(count as u64), draws.below(count as u64) as usize);
            match round % 4 {
                0 => logits[to] = logits[from as usize].next_down(),
                1 => logits[to] = logits[from as usize],
                2 => logits[to] = odd[draws.below(odd.len() as u64) as usize],
                _ => (),
            }
            let (p, found) = (probabilities(&logits), Score::computed(&logits, from as u32));
            let mut others = p.clone();
            let first = others.remove(found.top1);
            let second = others.into_iter().fold(0.0, f64::max);
            let expected =
                [loss(&logits, from as usize), p[from as usize], 100.0 * (first - second)];
            let found = [found.loss, found.p_label, found.top2diff];
            let bits =
                |figures: [f64; 3]| figures.map(|x| if x.is_nan() { 0 } else { x.to_bits() });
            assert_eq!(bits(found), bits(expected), "{logits:?}");
        }
    }

    /// At 1 it is the loss, to the bit; at T that of logits which are T times smaller.
    #[test]
    fn a_temperature_divides_the_logits() {
        let logits = [1.5, -2.0, 6.25, 0.5];
        let half = logits.map(|z| z / 2.0);
        for label in 0..4 {
            assert_eq!(loss_at(&logits, label, 1.0), loss(&logits, label as usize));
            assert_eq!(loss_at(&logits, label, 2.0), loss(&half, label as usize));
        }
        assert!(loss_at(&[1.0, f32::INFINITY], 0, 2.0).is_nan());
        assert!(loss_at(&[f32::NEG_INFINITY, 1.0], 1, 2.0).is_nan());
    }

    #[test]
    fn payloads_of_nan_don_t_count() {
        let other = f32::from_bits(0xffc0_0001);
        assert_eq!(hash(&[1.0, f32::NAN]), hash(&[1.0, other]));
        assert_ne!(hash(&[0.0]), hash(&[-0.0]));
    }
}
