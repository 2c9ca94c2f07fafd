//! Arguments and grids of `kernels/pool/max_pool.cu`.

use super::MaxPool;
use crate::device::args::MaxPoolArgs;
use crate::ops::{KernelBackward, KernelForward, place};
use crate::{Result, tensor::Map};

fn args(pool: &MaxPool, addresses: [u64; 4], input: Map, output: Map) -> MaxPoolArgs {
    let [from, to, taps, state] = addresses;
    let window = &pool.window;
    MaxPoolArgs {
        from,
        to,
        taps,
        state,
        in_height: input.height as u32,
        in_width: input.width as u32,
        height: output.height as u32,
        width: output.width as u32,
        channels: output.channels as u32,
        kernel: window.kernel.map(|n| n as u32),
        stride: window.stride.map(|n| n as u32),
        padding: window.padding.map(|n| n as u32),
        dilation: window.dilation.map(|n| n as u32),
        accumulate: 0,
    }
}

pub fn forward(pool: &MaxPool, ctx: &KernelForward<'_>) -> Result<()> {
    let (x, y) = (ctx.inputs[0], ctx.output);
    let taps = if ctx.saved.elements() > 0 { ctx.saved.address } else { 0 };
    let args = args(pool, [x.address, y.address, taps, ctx.state_address], x.map(), y.map());
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("max_pool_forward_f32", place::channel_quads(y), &args) }
}

pub fn backward(pool: &MaxPool, ctx: &KernelBackward<'_>) -> Result<()> {
    let Some(dx) = ctx.input_gradients[0] else { return Ok(()) };
    let (to, dy) = (dx.tensor, ctx.output_gradient);
    let addresses = [dy.address, to.address, ctx.saved.address, ctx.state_address];
    let args = MaxPoolArgs {
        accumulate: u32::from(dx.accumulate),
        ..args(pool, addresses, to.map(), dy.map())
    };
    let grid = place::channel_quads(to);
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("max_pool_backward_f32", grid, &args) }
}
