//! Arguments and grids of `kernels/norm/reduce.cu`.

use super::Reduce;
use crate::Result;
use crate::device::args::ReduceArgs;
use crate::ops::{KernelBackward, KernelForward, place};
use crate::tensor::Tensor;

/// Of both passes; those of backward are the caller's to set.
fn args(op: Reduce, x: Tensor, y: Tensor, state: u64) -> ReduceArgs {
    ReduceArgs {
        x: x.address,
        y: y.address,
        dy: 0,
        dx: 0,
        state,
        pixels: x.map().pixels() as u32,
        channels: x.map().channels as u32,
        function: op as u32,
        accumulate: 0,
    }
}

pub fn forward(op: Reduce, ctx: &KernelForward<'_>) -> Result<()> {
    let args = args(op, ctx.inputs[0], ctx.output, ctx.state_address);
    let config = place::pixels(ctx.output, place::TILE_LANES);
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("reduce_forward_f32", config, &args) }
}

pub fn backward(op: Reduce, ctx: &KernelBackward<'_>) -> Result<()> {
    let Some(dx) = ctx.input_gradients[0] else { return Ok(()) };
    let args = ReduceArgs {
        dy: ctx.output_gradient.address,
        dx: dx.tensor.address,
        accumulate: dx.accumulate.into(),
        ..args(op, ctx.inputs[0], ctx.output, ctx.state_address)
    };
    let config = place::pixels(dx.tensor, place::TILE_LANES);
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("reduce_backward_f32", config, &args) }
}
