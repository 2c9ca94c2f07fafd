//! Arguments and grids of `kernels/pool/adaptive_avg_pool.cu`.

use crate::device::args::AdaptiveAvgPoolArgs;
use crate::ops::{KernelBackward, KernelForward, place};
use crate::{Result, tensor::Map};

fn args(from: u64, to: u64, state: u64, input: Map, output: Map) -> AdaptiveAvgPoolArgs {
    AdaptiveAvgPoolArgs {
        from,
        to,
        state,
        in_height: input.height as u32,
        in_width: input.width as u32,
        height: output.height as u32,
        width: output.width as u32,
        channels: output.channels as u32,
        accumulate: 0,
    }
}

pub fn forward(ctx: &KernelForward<'_>) -> Result<()> {
    let (input, y) = (ctx.inputs[0], ctx.output);
    let args = args(input.address, y.address, ctx.state_address, input.map(), y.map());
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("adaptive_avg_pool_forward_f32", place::channel_quads(y), &args) }
}

pub fn backward(ctx: &KernelBackward<'_>) -> Result<()> {
    let Some(dx) = ctx.input_gradients[0] else { return Ok(()) };
    let (to, dy) = (dx.tensor, ctx.output_gradient);
    let args = AdaptiveAvgPoolArgs {
        accumulate: u32::from(dx.accumulate),
        ..args(dy.address, to.address, ctx.state_address, to.map(), dy.map())
    };
    let grid = place::channel_quads(to);
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("adaptive_avg_pool_backward_f32", grid, &args) }
}
