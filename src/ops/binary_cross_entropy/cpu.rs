//! Binary cross-entropy on the CPU.

use super::BinaryCrossEntropy;
use crate::Result;
use crate::ops::{HostBackward, HostForward, targets};

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
    targets::forward(op.label_smoothing, ctx, |logits, target| {
        let classes = logits.iter().zip(target);
        let loss: f64 = classes.map(|(z, t)| class_loss(f64::from(*z), op.target(*t))).sum();
        loss / op.divisor(logits.len())
    })
}

/// dz = dL · (σ(z) − t), over the number of classes for a mean.
pub fn backward(op: &BinaryCrossEntropy, ctx: &mut HostBackward<'_>) -> Result<()> {
    targets::backward(op.label_smoothing, ctx, |dloss, logits, target, dz| {
        let dloss = dloss / op.divisor(logits.len());
        for ((dz, z), t) in dz.iter_mut().zip(logits).zip(target) {
            *dz = dloss * class_gradient(f64::from(*z), op.target(*t));
        }
    })
}
