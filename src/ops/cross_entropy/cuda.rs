//! Arguments and grids of `kernels/optim/cross_entropy.cu`.

use super::CrossEntropy;
use crate::Result;
use crate::device::args::{CrossEntropyBackwardArgs, CrossEntropyForwardArgs};
use crate::ops::targets::is_soft;
use crate::ops::{KernelBackward, KernelForward};
use crate::tensor::Tensor;

/// Warps of a block; each has an image.
const WARPS: usize = 4;
const BLOCK: [u32; 3] = [32 * WARPS as u32, 1, 1];

fn grid(logits: Tensor) -> [u32; 3] {
    [logits.images.div_ceil(WARPS) as u32, 1, 1]
}

pub fn forward(op: &CrossEntropy, ctx: &KernelForward<'_>) -> Result<()> {
    let kernel = "cross_entropy_forward_f32";
    ctx.require_whole(kernel)?;
    let (logits, targets) = (ctx.inputs[0], ctx.inputs[1]);
    let args = CrossEntropyForwardArgs {
        logits: logits.address,
        targets: targets.address,
        losses: ctx.output.address,
        state: ctx.state_address,
        classes: logits.map().channels as u32,
        soft: is_soft(targets),
        smoothing: op.label_smoothing,
        unused: 0,
    };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch(kernel, grid(logits), BLOCK, &args) }
}

pub fn backward(op: &CrossEntropy, ctx: &KernelBackward<'_>) -> Result<()> {
    let Some(dlogits) = ctx.input_gradients[0] else { return Ok(()) };
    let (logits, targets) = (ctx.inputs[0], ctx.inputs[1]);
    let args = CrossEntropyBackwardArgs {
        logits: logits.address,
        targets: targets.address,
        dlosses: ctx.output_gradient.address,
        dlogits: dlogits.tensor.address,
        state: ctx.state_address,
        classes: logits.map().channels as u32,
        soft: is_soft(targets),
        smoothing: op.label_smoothing,
        accumulate: dlogits.accumulate.into(),
    };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("cross_entropy_backward_f32", grid(logits), BLOCK, &args) }
}
