//! Launches of `kernels/optim/cross_entropy.cu`.

use super::CrossEntropy;
use crate::Result;
use crate::ops::{KernelBackward, KernelForward, targets};

pub fn forward(op: &CrossEntropy, ctx: &KernelForward<'_>) -> Result<()> {
    let (config, args) = targets::forward_args(op.label_smoothing, ctx);
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("cross_entropy_forward_f32", config, &args) }
}

pub fn backward(op: &CrossEntropy, ctx: &KernelBackward<'_>) -> Result<()> {
    let args = targets::backward_args(op.label_smoothing, ctx);
    let Some((config, args)) = args else { return Ok(()) };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("cross_entropy_backward_f32", config, &args) }
}
