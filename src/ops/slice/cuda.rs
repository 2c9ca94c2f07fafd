//! Arguments and grids of `kernels/pointwise/slice.cu`.

use super::Slice;
use crate::Result;
use crate::device::args::SliceArgs;
use crate::ops::{KernelBackward, KernelForward, place};

pub fn forward(op: &Slice, ctx: &KernelForward<'_>) -> Result<()> {
    let kernel = "slice_forward_f32";
    ctx.require_whole(kernel)?;
    let map = ctx.input_map(0);
    let args = SliceArgs {
        from: ctx.inputs[0].address,
        to: ctx.output.address,
        state: ctx.state_address,
        pixels: map.pixels() as u32,
        all_channels: map.channels as u32,
        first: op.channels.start as u32,
        channels: op.channels.len() as u32,
        accumulate: 0,
        unused: 0,
    };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch(kernel, place::channel_quads(ctx.output), place::BLOCK, &args) }
}

pub fn backward(op: &Slice, ctx: &KernelBackward<'_>) -> Result<()> {
    let Some(dx) = ctx.input_gradients[0] else { return Ok(()) };
    let map = ctx.input_map(0);
    let args = SliceArgs {
        from: ctx.output_gradient.address,
        to: dx.tensor.address,
        state: ctx.state_address,
        pixels: map.pixels() as u32,
        all_channels: map.channels as u32,
        first: op.channels.start as u32,
        channels: op.channels.len() as u32,
        accumulate: dx.accumulate.into(),
        unused: 0,
    };
    // SAFETY: the arguments are views of `ctx`.
    unsafe {
        ctx.launch("slice_backward_f32", place::channel_quads(dx.tensor), place::BLOCK, &args)
    }
}
