//! Arguments and grids of `kernels/norm/softmax.cu`.

use crate::Result;
use crate::device::args::SoftmaxArgs;
use crate::ops::{KernelBackward, KernelForward, place};
use crate::tensor::Tensor;

fn args(y: Tensor, state: u64) -> SoftmaxArgs {
    SoftmaxArgs {
        x: 0,
        y: y.address,
        dy: 0,
        dx: 0,
        state,
        pixels: y.map().pixels() as u32,
        channels: y.map().channels as u32,
        accumulate: 0,
    }
}

pub fn forward(ctx: &KernelForward<'_>) -> Result<()> {
    let y = ctx.output;
    let args = SoftmaxArgs { x: ctx.inputs[0].address, ..args(y, ctx.state_address) };
    if place::are_rows(y.map().channels) {
        // SAFETY: the arguments are views of `ctx`.
        return unsafe { ctx.launch("softmax_forward_f32_row", place::rows(y), &args) };
    }
    // SAFETY: as above.
    unsafe { ctx.launch("softmax_forward_f32", place::pixels(y, place::TILE_LANES), &args) }
}

pub fn backward(ctx: &KernelBackward<'_>) -> Result<()> {
    let Some(dx) = ctx.input_gradients[0] else { return Ok(()) };
    let args = SoftmaxArgs {
        dy: ctx.output_gradient.address,
        dx: dx.tensor.address,
        accumulate: dx.accumulate.into(),
        ..args(ctx.output, ctx.state_address)
    };
    if place::are_rows(dx.tensor.map().channels) {
        let grid = place::rows(dx.tensor);
        // SAFETY: the arguments are views of `ctx`.
        return unsafe { ctx.launch("softmax_backward_f32_row", grid, &args) };
    }
    let grid = place::pixels(dx.tensor, place::TILE_LANES);
    // SAFETY: as above.
    unsafe { ctx.launch("softmax_backward_f32", grid, &args) }
}
