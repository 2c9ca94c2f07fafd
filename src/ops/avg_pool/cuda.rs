//! Arguments and grids of `kernels/pool/avg_pool.cu`.

use super::AvgPool;
use crate::device::args::AvgPoolArgs;
use crate::ops::{KernelBackward, KernelForward, place};
use crate::{Result, tensor::Map};

fn args(pool: &AvgPool, addresses: [u64; 3], input: Map, output: Map) -> AvgPoolArgs {
    let [from, to, state] = addresses;
    AvgPoolArgs {
        from,
        to,
        state,
        in_height: input.height as u32,
        in_width: input.width as u32,
        height: output.height as u32,
        width: output.width as u32,
        channels: output.channels as u32,
        kernel: pool.kernel.map(|n| n as u32),
        stride: pool.stride.map(|n| n as u32),
        padding: pool.padding.map(|n| n as u32),
        count_include_pad: u32::from(pool.count_include_pad),
        accumulate: 0,
    }
}

pub fn forward(pool: &AvgPool, ctx: &KernelForward<'_>) -> Result<()> {
    let (x, y) = (ctx.inputs[0], ctx.output);
    let args = args(pool, [x.address, y.address, ctx.state_address], x.map(), y.map());
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("avg_pool_forward_f32", place::channel_quads(y), &args) }
}

pub fn backward(pool: &AvgPool, ctx: &KernelBackward<'_>) -> Result<()> {
    let Some(dx) = ctx.input_gradients[0] else { return Ok(()) };
    let (to, dy) = (dx.tensor, ctx.output_gradient);
    let args = AvgPoolArgs {
        accumulate: u32::from(dx.accumulate),
        ..args(pool, [dy.address, to.address, ctx.state_address], to.map(), dy.map())
    };
    let grid = place::channel_quads(to);
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("avg_pool_backward_f32", grid, &args) }
}
