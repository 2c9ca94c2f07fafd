//! Arguments and grids of `kernels/optim/binary_cross_entropy.cu`.

use super::BinaryCrossEntropy;
use crate::Result;
use crate::device::args::BinaryCrossEntropyArgs;
use crate::ops::targets::is_soft;
use crate::ops::{KernelBackward, KernelForward, place};
use crate::tensor::Tensor;

/// Of inputs and losses; those of backward are the caller's to set.
fn args(
    op: &BinaryCrossEntropy,
    inputs: &[Tensor],
    losses: Tensor,
    state: u64,
) -> BinaryCrossEntropyArgs {
    let (logits, targets) = (inputs[0], inputs[1]);
    BinaryCrossEntropyArgs {
        logits: logits.address,
        targets: targets.address,
        losses: losses.address,
        dlogits: 0,
        state,
        classes: logits.map().channels as u32,
        soft: is_soft(targets),
        smoothing: op.label_smoothing,
        binarized: op.target_threshold.is_some().into(),
        threshold: op.target_threshold.unwrap_or(0.0),
        sum: op.sum.into(),
        accumulate: 0,
    }
}

pub fn forward(op: &BinaryCrossEntropy, ctx: &KernelForward<'_>) -> Result<()> {
    let args = args(op, ctx.inputs, ctx.output, ctx.state_address);
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("binary_cross_entropy_forward_f32", place::rows(ctx.inputs[0]), &args) }
}

pub fn backward(op: &BinaryCrossEntropy, ctx: &KernelBackward<'_>) -> Result<()> {
    let Some(dlogits) = ctx.input_gradients[0] else { return Ok(()) };
    let args = BinaryCrossEntropyArgs {
        dlogits: dlogits.tensor.address,
        accumulate: dlogits.accumulate.into(),
        ..args(op, ctx.inputs, ctx.output_gradient, ctx.state_address)
    };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("binary_cross_entropy_backward_f32", place::rows(dlogits.tensor), &args) }
}
