//! Arguments and grids of `kernels/pointwise/slice.cu`.

use super::Slice;
use crate::Result;
use crate::device::args::SliceArgs;
use crate::ops::{KernelBackward, KernelForward, place};
use crate::tensor::{Map, Tensor};

fn args(op: &Slice, map: Map, [from, to]: [Tensor; 2], state: u64) -> SliceArgs {
    SliceArgs {
        from: from.address,
        to: to.address,
        state,
        pixels: map.pixels() as u32,
        all_channels: map.channels as u32,
        first: op.channels.start as u32,
        channels: op.channels.len() as u32,
        accumulate: 0,
    }
}

pub fn forward(op: &Slice, ctx: &KernelForward<'_>) -> Result<()> {
    let args = args(op, ctx.input_map(0), [ctx.inputs[0], ctx.output], ctx.state_address);
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("slice_forward_f32", place::channel_quads(ctx.output), &args) }
}

pub fn backward(op: &Slice, ctx: &KernelBackward<'_>) -> Result<()> {
    let Some(dx) = ctx.input_gradients[0] else { return Ok(()) };
    let views = [ctx.output_gradient, dx.tensor];
    let args = SliceArgs {
        accumulate: dx.accumulate.into(),
        ..args(op, ctx.input_map(0), views, ctx.state_address)
    };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("slice_backward_f32", place::channel_quads(dx.tensor), &args) }
}
