//! Softmax cross-entropy on the CPU.

use super::CrossEntropy;
use crate::Result;
use crate::ops::{HostBackward, HostForward, targets};
use crate::tensor::DType;

/// The largest logit and log Σ e^(z − largest); NaN where a logit is NaN or the largest infinite.
fn log_sum(logits: &[f32]) -> (f64, f64) {
    let largest = logits.iter().fold(f64::NEG_INFINITY, |m, z| m.max(f64::from(*z)));
    let sum: f64 = logits.iter().map(|z| (f64::from(*z) - largest).exp()).sum();
    (largest, sum.ln())
}

/// softmax(logits).
pub fn probabilities(logits: &[f32]) -> Vec<f64> {
    let (largest, log_sum) = log_sum(logits);
    logits.iter().map(|z| (f64::from(*z) - largest - log_sum).exp()).collect()
}

/// The loss of one image with a class as target, before it is rounded to f32.
pub fn loss(logits: &[f32], label: usize) -> f64 {
    let (largest, log_sum) = log_sum(logits);
    log_sum - (f64::from(logits[label]) - largest)
}

pub fn forward(op: &CrossEntropy, ctx: &mut HostForward<'_>) -> Result<()> {
    let is_soft = ctx.inputs[1].spec.storage == DType::F32;
    targets::forward(op.label_smoothing, ctx, |logits, target| {
        let (largest, log_sum) = log_sum(logits);
        // Classes that a label rules out are no terms: a logit of −∞ there costs nothing.
        let terms = logits.iter().zip(target).filter(|(_, t)| is_soft || **t != 0.0);
        terms.map(|(z, t)| t * (log_sum - (f64::from(*z) - largest))).sum()
    })
}

/// dz = dL · (p · Σt − t).
pub fn backward(op: &CrossEntropy, ctx: &mut HostBackward<'_>) -> Result<()> {
    targets::backward(op.label_smoothing, ctx, |dloss, logits, target, dz| {
        let (largest, log_sum) = log_sum(logits);
        let total: f64 = target.iter().sum();
        for ((dz, z), t) in dz.iter_mut().zip(logits).zip(target) {
            let p = (f64::from(*z) - largest - log_sum).exp();
            *dz = dloss * (p * total - t);
        }
    })
}
