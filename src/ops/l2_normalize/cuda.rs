//! Arguments and grids of `kernels/norm/l2_normalize.cu`.

use crate::Result;
use crate::device::args::{L2NormalizeBackwardArgs, L2NormalizeForwardArgs};
use crate::ops::{KernelBackward, KernelForward, place};

/// Threads of a pixel.
const LANES: usize = 32;

pub fn forward(ctx: &KernelForward<'_>) -> Result<()> {
    let map = ctx.output_map();
    let args = L2NormalizeForwardArgs {
        x: ctx.inputs[0].address,
        y: ctx.output.address,
        state: ctx.state_address,
        pixels: map.pixels() as u32,
        channels: map.channels as u32,
    };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("l2_normalize_forward_f32", place::pixels(ctx.output, LANES), &args) }
}

pub fn backward(ctx: &KernelBackward<'_>) -> Result<()> {
    let Some(dx) = ctx.input_gradients[0] else { return Ok(()) };
    let map = dx.tensor.map();
    let args = L2NormalizeBackwardArgs {
        x: ctx.inputs[0].address,
        y: ctx.output.address,
        dy: ctx.output_gradient.address,
        dx: dx.tensor.address,
        state: ctx.state_address,
        pixels: map.pixels() as u32,
        channels: map.channels as u32,
        accumulate: dx.accumulate.into(),
    };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("l2_normalize_backward_f32", place::pixels(dx.tensor, LANES), &args) }
}
