//! Arguments and grids of `kernels/pointwise/dropout.cu`.

use super::Dropout;
use crate::Result;
use crate::device::LaunchConfig;
use crate::device::args::DropoutArgs;
use crate::ops::{KernelBackward, KernelForward, mask};
use crate::tensor::Tensor;

const THREADS: usize = 128;

/// Four elements a thread, whole blocks for each image.
fn grid(batch: Tensor) -> LaunchConfig {
    let blocks = batch.images * batch.map().elements().div_ceil(4 * THREADS);
    ([blocks as u32, 1, 1], [THREADS as u32, 1, 1])
}

/// Arguments without `from`, and without adding.
fn args(op: &Dropout, node: &str, to: Tensor, samples: u64, state: u64) -> DropoutArgs {
    DropoutArgs {
        from: 0,
        to: to.address,
        samples,
        state,
        name: mask::name_key("dropout", node),
        elements: to.map().elements() as u32,
        threshold: mask::threshold(op.p),
        factor: mask::factor(op.p),
        accumulate: 0,
    }
}

pub fn forward(op: &Dropout, ctx: &KernelForward<'_>) -> Result<()> {
    let args = DropoutArgs {
        from: ctx.inputs[0].address,
        ..args(op, ctx.node, ctx.output, ctx.samples_address, ctx.state_address)
    };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("dropout_forward_f32", grid(ctx.output), &args) }
}

pub fn backward(op: &Dropout, ctx: &KernelBackward<'_>) -> Result<()> {
    let Some(dx) = ctx.input_gradients[0] else { return Ok(()) };
    let args = DropoutArgs {
        from: ctx.output_gradient.address,
        accumulate: dx.accumulate.into(),
        ..args(op, ctx.node, dx.tensor, ctx.samples_address, ctx.state_address)
    };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("dropout_backward_f32", grid(dx.tensor), &args) }
}
