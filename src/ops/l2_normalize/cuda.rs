//! Arguments and grids of `kernels/norm/l2_normalize.cu`.

use crate::Result;
use crate::device::args::{L2NormalizeBackwardArgs, L2NormalizeForwardArgs};
use crate::ops::{KernelBackward, KernelForward};
use crate::tensor::Tensor;

/// Warps of a block; each has a pixel.
const WARPS: usize = 8;
const BLOCK: [u32; 3] = [32 * WARPS as u32, 1, 1];

fn grid(batch: Tensor) -> [u32; 3] {
    [(batch.images * batch.map().pixels()).div_ceil(WARPS) as u32, 1, 1]
}

pub fn forward(ctx: &KernelForward<'_>) -> Result<()> {
    let kernel = "l2_normalize_forward_f32";
    ctx.require_whole(kernel)?;
    let map = ctx.output_map();
    let args = L2NormalizeForwardArgs {
        x: ctx.inputs[0].address,
        y: ctx.output.address,
        state: ctx.state_address,
        pixels: map.pixels() as u32,
        channels: map.channels as u32,
    };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch(kernel, grid(ctx.output), BLOCK, &args) }
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
        unused: 0,
    };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("l2_normalize_backward_f32", grid(dx.tensor), BLOCK, &args) }
}
