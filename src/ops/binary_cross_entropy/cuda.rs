//! Launches of `kernels/optim/binary_cross_entropy.cu`.

use super::BinaryCrossEntropy;
use crate::Result;
use crate::device::args::{BinaryCrossEntropyArgs, LossArgs};
use crate::ops::{KernelBackward, KernelForward, targets};

fn args(op: &BinaryCrossEntropy, loss: LossArgs) -> BinaryCrossEntropyArgs {
    BinaryCrossEntropyArgs {
        loss,
        binarized: op.target_threshold.is_some().into(),
        threshold: op.target_threshold.unwrap_or(0.0),
        sum: op.sum.into(),
    }
}

pub fn forward(op: &BinaryCrossEntropy, ctx: &KernelForward<'_>) -> Result<()> {
    let (config, loss) = targets::forward_args(op.label_smoothing, ctx);
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("binary_cross_entropy_forward_f32", config, &args(op, loss)) }
}

pub fn backward(op: &BinaryCrossEntropy, ctx: &KernelBackward<'_>) -> Result<()> {
    let args_of_loss = targets::backward_args(op.label_smoothing, ctx);
    let Some((config, loss)) = args_of_loss else { return Ok(()) };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("binary_cross_entropy_backward_f32", config, &args(op, loss)) }
}
