//! Arguments and grids of `kernels/norm/reduce.cu`.

use super::Reduce;
use crate::Result;
use crate::device::args::ReduceArgs;
use crate::ops::{KernelBackward, KernelForward, place};

pub fn forward(op: Reduce, ctx: &KernelForward<'_>) -> Result<()> {
    let kernel = "reduce_forward_f32";
    ctx.require_whole(kernel)?;
    let (x, y) = (ctx.inputs[0], ctx.output);
    let args = ReduceArgs {
        x: x.address,
        y: y.address,
        dy: 0,
        dx: 0,
        state: ctx.state_address,
        pixels: x.map().pixels() as u32,
        channels: x.map().channels as u32,
        function: op as u32,
        accumulate: 0,
    };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch(kernel, place::pixels(y, place::TILE_LANES), place::BLOCK, &args) }
}

pub fn backward(op: Reduce, ctx: &KernelBackward<'_>) -> Result<()> {
    let Some(dx) = ctx.input_gradients[0] else { return Ok(()) };
    let map = dx.tensor.map();
    let args = ReduceArgs {
        x: ctx.inputs[0].address,
        y: ctx.output.address,
        dy: ctx.output_gradient.address,
        dx: dx.tensor.address,
        state: ctx.state_address,
        pixels: map.pixels() as u32,
        channels: map.channels as u32,
        function: op as u32,
        accumulate: dx.accumulate.into(),
    };
    let grid = place::pixels(dx.tensor, place::TILE_LANES);
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("reduce_backward_f32", grid, place::BLOCK, &args) }
}
