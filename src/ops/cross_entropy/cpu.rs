//! Softmax cross-entropy on the CPU.

use super::CrossEntropy;
use crate::Result;
use crate::ops::{HostBackward, HostForward, targets};
use crate::tensor::DType;

/// Makes logarithms of probabilities from an image's logits, in nats. All are NaN where a logit is NaN or the largest
/// infinite.
pub struct LogSoftmax {
    largest: f64,
    /// ln Σ e^(z − largest).
    log_sum: f64,
}

impl LogSoftmax {
    pub fn of(logits: &[f32]) -> LogSoftmax {
        let largest = logits.iter().fold(f64::NEG_INFINITY, |m, z| m.max(f64::from(*z)));
        let sum: f64 = logits.iter().map(|z| (f64::from(*z) - largest).exp()).sum();
        LogSoftmax { largest, log_sum: sum.ln() }
    }

    /// Of the class with logit `z`.
    pub fn at(&self, z: f32) -> f64 {
        f64::from(z) - self.largest - self.log_sum
    }

    /// The loss of the image with that class as target, before it is rounded to f32.
    pub fn loss(&self, z: f32) -> f64 {
        self.log_sum - (f64::from(z) - self.largest)
    }
}

/// softmax(logits).
pub fn probabilities(logits: &[f32]) -> Vec<f64> {
    let log_softmax = LogSoftmax::of(logits);
    logits.iter().map(|z| log_softmax.at(*z).exp()).collect()
}

/// [`LogSoftmax::loss`] of class `label`.
pub fn loss(logits: &[f32], label: usize) -> f64 {
    LogSoftmax::of(logits).loss(logits[label])
}

pub fn forward(op: &CrossEntropy, ctx: &mut HostForward<'_>) -> Result<()> {
    let is_soft = ctx.inputs[1].spec.storage == DType::F32;
    targets::forward(op.label_smoothing, ctx, |logits, target| {
        let log_softmax = LogSoftmax::of(logits);
        // Classes that a label rules out are no terms: a logit of −∞ there costs nothing.
        let terms = logits.iter().zip(target).filter(|(_, t)| is_soft || **t != 0.0);
        terms.map(|(z, t)| t * log_softmax.loss(*z)).sum()
    })
}

/// dz = dL · (p · Σt − t).
pub fn backward(op: &CrossEntropy, ctx: &mut HostBackward<'_>) -> Result<()> {
    targets::backward(op.label_smoothing, ctx, |dloss, logits, target, dz| {
        let log_softmax = LogSoftmax::of(logits);
        let total: f64 = target.iter().sum();
        for ((dz, z), t) in dz.iter_mut().zip(logits).zip(target) {
            let p = log_softmax.at(*z).exp();
            *dz = dloss * (p * total - t);
        }
    })
}
