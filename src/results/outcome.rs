//! What a fault did to an answer.

use serde::{Deserialize, Serialize};
use strum::{EnumIter, EnumString, IntoStaticStr};

use super::golden::Golden;
use crate::Error;
use crate::logits::{self, Score, rank};
use crate::plan::MOST_TEMPERATURES;

/// The outcomes exclude each other and are asked in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[derive(EnumIter, EnumString, IntoStaticStr)]
#[strum(serialize_all = "kebab-case", parse_err_ty = Error, parse_err_fn = unknown)]
pub enum Outcome {
    /// A NaN or an infinity among the logits. Only where an output check is assumed is this a
    /// detected error.
    Nonfinite,
    /// The same bits.
    Masked,
    /// Silent data corruption: another top-1.
    Sdc,
    /// Other numbers, the same top-1.
    Benign,
}

impl Outcome {
    /// The word in tables and files.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

fn unknown(word: &str) -> Error {
    Error::unknown::<Outcome>("outcome", word)
}

/// A faulty answer, against the golden one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effect {
    pub outcome: Outcome,
    /// Whether the golden top-1 isn't among the faulty top-5, whatever the outcome: among logits with NaN,
    /// which stands first, a matter of the class's number. See [`Effect::is_sdc5`].
    pub sdc5: bool,
    pub score: Score,
    /// [`logits::hash`] of the faulty logits.
    pub hash: u64,
    /// ΔLoss with logits divided by each temperature of the campaign, NaN where an answer isn't finite; `None` where
    /// the campaign has no such temperature.
    pub rescaled: [Option<f64>; MOST_TEMPERATURES],
}

impl Effect {
    /// Judges the `faulty` logits of an image.
    pub fn of(golden: &Golden, faulty: &[f32]) -> Effect {
        let bits = bytemuck::cast_slice::<f32, u32>;
        if bits(faulty) == bits(&golden.logits) {
            return Effect::unchanged(golden);
        }
        let score = Score::of(faulty, golden.label);
        let outcome = if faulty.iter().any(|z| !z.is_finite()) {
            Outcome::Nonfinite
        } else if score.top1 != golden.score.top1 {
            Outcome::Sdc
        } else {
            Outcome::Benign
        };
        let sdc5 = rank(faulty, golden.score.top1) >= 5;
        Effect { outcome, sdc5, score, hash: logits::hash(faulty), rescaled: Default::default() }
    }

    /// With ΔLoss at `temperatures`, of the `faulty` logits that this is the effect of.
    pub fn at(mut self, temperatures: &[f64], golden: &Golden, faulty: &[f32]) -> Effect {
        for (rescaled, temperature) in self.rescaled.iter_mut().zip(temperatures) {
            let loss = |logits| logits::loss_at(logits, golden.label, *temperature);
            *rescaled = Some((loss(&golden.logits) - loss(faulty)).abs());
        }
        self
    }

    /// Whether it is SDC-5: SDC (Li et al., 2017, *Understanding Error Propagation in Deep Learning Neural Network
    /// (DNN) Accelerators and Applications*) that also takes the golden top-1 out of the top-5. Nonfinite answers
    /// are neither.
    pub fn is_sdc5(&self) -> bool {
        self.outcome == Outcome::Sdc && self.sdc5
    }

    /// What [`Effect::of`] gives for the golden logits themselves, without looking at them again.
    pub fn unchanged(golden: &Golden) -> Effect {
        Effect {
            outcome: if golden.is_finite { Outcome::Masked } else { Outcome::Nonfinite },
            sdc5: false,
            score: golden.score,
            hash: golden.hash,
            rescaled: Default::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(faulty: &[f32]) -> Effect {
        Effect::of(&Golden::new(0, 1, vec![0.5, 3.0, 2.0, 1.0, 0.0, -1.0, -2.0]), faulty)
    }

    #[test]
    fn outcomes_are_asked_in_order() {
        let golden = [0.5, 3.0, 2.0, 1.0, 0.0, -1.0, -2.0];
        let with = |class: usize, value: f32| {
            let mut logits = golden;
            logits[class] = value;
            effect(&logits)
        };
        assert_eq!(effect(&golden).outcome, Outcome::Masked);
        assert_eq!(with(0, f32::NAN).outcome, Outcome::Nonfinite);
        assert_eq!(with(0, f32::NEG_INFINITY).outcome, Outcome::Nonfinite);
        assert_eq!(with(0, 4.0).outcome, Outcome::Sdc);
        assert_eq!(with(0, 0.6).outcome, Outcome::Benign);
        // A tie goes to the lowest index: class 0 takes it from 1, class 2 doesn't.
        assert_eq!(with(0, 3.0).outcome, Outcome::Sdc);
        assert_eq!(with(2, 3.0).outcome, Outcome::Benign);
        // −0.0 for 0.0 is another bit pattern and the same answer.
        assert_eq!(with(4, -0.0).outcome, Outcome::Benign);
        assert!(!with(1, -0.5).is_sdc5());
        assert!(with(1, -1.5).is_sdc5());
        assert_eq!(with(1, -1.5).outcome, Outcome::Sdc);
    }

    /// NaN stands first and the lower index wins: with all logits NaN the first five classes are the top-5,
    /// whatever the image. Such answers are nonfinite, and no SDC-5.
    #[test]
    fn nonfinite_answers_are_no_sdc5() {
        let golden = |top1: usize| {
            let mut logits = vec![0.0; 10];
            logits[top1] = 1.0;
            Golden::new(0, top1 as u32, logits)
        };
        for top1 in 0..10 {
            let effect = Effect::of(&golden(top1), &[f32::NAN; 10]);
            assert_eq!((effect.outcome, effect.sdc5), (Outcome::Nonfinite, top1 >= 5));
            assert!(!effect.is_sdc5());
        }
    }

    #[test]
    fn unchanged_is_what_judging_says() {
        for logits in [vec![1.0, 2.0, 0.0], vec![f32::NAN, 1.0, 2.0]] {
            let golden = Golden::new(3, 2, logits.clone());
            let is_finite = logits.iter().all(|z| z.is_finite());
            let outcome = if is_finite { Outcome::Masked } else { Outcome::Nonfinite };
            let (score, hash) = (Score::of(&logits, 2), logits::hash(&logits));
            let figures = |s: Score| [s.loss, s.p_label, s.top2diff].map(f64::to_bits);
            for found in [Effect::unchanged(&golden), Effect::of(&golden, &logits)] {
                assert_eq!((found.outcome, found.sdc5, found.hash), (outcome, false, hash));
                assert_eq!(found.score.top1, score.top1);
                assert_eq!(figures(found.score), figures(score));
                assert_eq!(found.rescaled, [None; MOST_TEMPERATURES]);
            }
        }
    }
}
