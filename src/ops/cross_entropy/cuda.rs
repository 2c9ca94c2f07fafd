//! Arguments and grids of `kernels/optim/cross_entropy.cu`.

use super::CrossEntropy;
use crate::Result;
use crate::device::args::CrossEntropyArgs;
use crate::ops::targets::is_soft;
use crate::ops::{KernelBackward, KernelForward, place};
use crate::tensor::Tensor;

/// Of inputs and losses; those of backward are the caller's to set.
fn args(op: &CrossEntropy, inputs: &[Tensor], losses: Tensor, state: u64) -> CrossEntropyArgs {
    let (logits, targets) = (inputs[0], inputs[1]);
    CrossEntropyArgs {
        logits: logits.address,
        targets: targets.address,
        losses: losses.address,
        dlogits: 0,
        state,
        classes: logits.map().channels as u32,
        soft: is_soft(targets),
        smoothing: op.label_smoothing,
        accumulate: 0,
    }
}

pub fn forward(op: &CrossEntropy, ctx: &KernelForward<'_>) -> Result<()> {
    let args = args(op, ctx.inputs, ctx.output, ctx.state_address);
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("cross_entropy_forward_f32", place::rows(ctx.inputs[0]), &args) }
}

pub fn backward(op: &CrossEntropy, ctx: &KernelBackward<'_>) -> Result<()> {
    let Some(dlogits) = ctx.input_gradients[0] else { return Ok(()) };
    let args = CrossEntropyArgs {
        dlogits: dlogits.tensor.address,
        accumulate: dlogits.accumulate.into(),
        ..args(op, ctx.inputs, ctx.output_gradient, ctx.state_address)
    };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("cross_entropy_backward_f32", place::rows(dlogits.tensor), &args) }
}
