//! Binary cross-entropy on the CPU.

use super::BinaryCrossEntropy;
use crate::Result;
use crate::ops::targets::for_each_image;
use crate::ops::{HostBackward, HostForward};

impl BinaryCrossEntropy {
    /// A smoothed target as the loss takes it.
    fn target(&self, smoothed: f64) -> f64 {
        match self.target_threshold {
            None => smoothed,
            Some(threshold) if smoothed > f64::from(threshold) => 1.0,
            Some(_) => 0.0,
        }
    }
}

/// A side whose weight (t or 1 − t) is 0 is left out, so that an infinite logit there doesn't give NaN.
fn class_loss(z: f64, t: f64) -> f64 {
    let mut loss = (-z.abs()).exp().ln_1p();
    if t != 0.0 {
        loss += t * (-z).max(0.0);
    }
    if t != 1.0 {
        loss += (1.0 - t) * z.max(0.0);
    }
    loss
}

/// σ(z) − t, without the difference of two numbers that are nearly one.
fn class_gradient(z: f64, t: f64) -> f64 {
    let e = (-z.abs()).exp();
    let (small, large) = (e / (1.0 + e), 1.0 / (1.0 + e));
    if z < 0.0 { (1.0 - t) * small - t * large } else { (1.0 - t) * large - t * small }
}

pub fn forward(op: &BinaryCrossEntropy, ctx: &mut HostForward<'_>) -> Result<()> {
    let logits = (ctx.input(0), ctx.input_map(0).channels);
    let targets = (ctx.inputs[1].spec.storage, ctx.input_u32(1));
    let (range, node) = (ctx.region.images.range(), ctx.node);
    let losses = ctx.output();
    for_each_image(op.label_smoothing, logits, targets, range, node, |image, logits, target| {
        let classes = logits.iter().zip(target);
        let loss: f64 = classes.map(|(z, t)| class_loss(f64::from(*z), op.target(*t))).sum();
        losses[image] = (loss / op.divisor(logits.len())) as f32;
    })
}

/// dz = dL · (σ(z) − t), over the number of classes for a mean.
pub fn backward(op: &BinaryCrossEntropy, ctx: &mut HostBackward<'_>) -> Result<()> {
    let logits = (ctx.input(0), ctx.input_map(0).channels);
    let targets = (ctx.inputs[1].spec.storage, ctx.input_u32(1));
    let (range, node) = (0..ctx.images(), ctx.node);
    let dloss = ctx.output_gradient();
    let Some((dz, accumulate)) = ctx.input_gradient(0) else { return Ok(()) };
    for_each_image(op.label_smoothing, logits, targets, range, node, |image, logits, target| {
        let dloss = f64::from(dloss[image]) / op.divisor(logits.len());
        let dz = &mut dz[image * logits.len()..(image + 1) * logits.len()];
        for ((dz, z), t) in dz.iter_mut().zip(logits).zip(target) {
            let value = (dloss * class_gradient(f64::from(*z), op.target(*t))) as f32;
            *dz = if accumulate { *dz + value } else { value };
        }
    })
}
