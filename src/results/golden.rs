//! Fault-free answers: what faulty ones are compared with.

use crate::logits::{Score, hash};

/// The fault-free answer to one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Golden {
    /// Index of the image among the evaluation images.
    pub image: usize,
    pub label: u32,
    pub score: Score,
    pub logits: Vec<f32>,
    /// [`hash`] of the logits.
    pub hash: u64,
    pub is_finite: bool,
}

impl Golden {
    /// The answer `logits` to image number `image`, whose class is `label`.
    pub fn new(image: usize, label: u32, logits: Vec<f32>) -> Golden {
        Golden {
            image,
            label,
            score: Score::of(&logits, label),
            hash: hash(&logits),
            is_finite: logits.iter().all(|z| z.is_finite()),
            logits,
        }
    }

    /// Whether the top-1 is the label; an answer with NaN or infinity has none.
    pub fn is_right(&self) -> bool {
        self.is_finite && self.score.top1 == self.label as usize
    }

    /// Whether the published protocol would use the image: the answer is right, and by a margin.
    pub fn is_eligible(&self) -> bool {
        self.is_right() && self.score.top2diff > 0.0
    }
}

/// The logits' range: the largest less the smallest, on average over answers; those that aren't finite are left out,
/// and without any other there is none.
pub fn mean_logit_range(goldens: &[Golden]) -> Option<f64> {
    let range = |golden: &Golden| {
        let logits = golden.logits.iter().map(|z| f64::from(*z));
        let largest = logits.clone().fold(f64::NEG_INFINITY, f64::max);
        largest - logits.fold(f64::INFINITY, f64::min)
    };
    let finite: Vec<f64> = goldens.iter().filter(|golden| golden.is_finite).map(range).collect();
    (!finite.is_empty()).then(|| finite.iter().sum::<f64>() / finite.len() as f64)
}

/// Mean Top2Diff over answers, in percentage points; answers that aren't finite are left out, and without any
/// other there is none.
pub fn mean_top2diff(goldens: &[Golden]) -> Option<f64> {
    let values: Vec<f64> =
        goldens.iter().map(|golden| golden.score.top2diff).filter(|v| v.is_finite()).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
