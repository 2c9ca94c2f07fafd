//! Softmax cross-entropy on the CPU.

use super::CrossEntropy;
use crate::Result;
use crate::ops::targets::for_each_image;
use crate::ops::{HostBackward, HostForward};
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
    let logits = (ctx.input(0), ctx.input_map(0).channels);
    let targets = (ctx.inputs[1].spec.storage, ctx.input_u32(1));
    let (range, node) = (ctx.region.images.range(), ctx.node);
    let losses = ctx.output();
    for_each_image(op.label_smoothing, logits, targets, range, node, |image, logits, target| {
        let (largest, log_sum) = log_sum(logits);
        // With a label, classes where t is 0 are left out, so that a logit of −∞ there doesn't give NaN.
        let is_term = |t: f64| targets.0 == DType::F32 || t != 0.0;
        let terms = logits.iter().zip(target).filter(|(_, t)| is_term(**t));
        let loss: f64 = terms.map(|(z, t)| t * (log_sum - (f64::from(*z) - largest))).sum();
        losses[image] = loss as f32;
    })
}

/// dz = dL · (p · Σt − t).
pub fn backward(op: &CrossEntropy, ctx: &mut HostBackward<'_>) -> Result<()> {
    let logits = (ctx.input(0), ctx.input_map(0).channels);
    let targets = (ctx.inputs[1].spec.storage, ctx.input_u32(1));
    let (range, node) = (0..ctx.images(), ctx.node);
    let dloss = ctx.output_gradient();
    let Some((dz, accumulate)) = ctx.input_gradient(0) else { return Ok(()) };
    for_each_image(op.label_smoothing, logits, targets, range, node, |image, logits, target| {
        let (largest, log_sum) = log_sum(logits);
        let total: f64 = target.iter().sum();
        let dz = &mut dz[image * logits.len()..(image + 1) * logits.len()];
        for ((dz, z), t) in dz.iter_mut().zip(logits).zip(target) {
            let p = (f64::from(*z) - largest - log_sum).exp();
            let value = (f64::from(dloss[image]) * (p * total - t)) as f32;
            *dz = if accumulate { *dz + value } else { value };
        }
    })
}
