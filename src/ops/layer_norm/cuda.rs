//! Arguments and grids of `kernels/norm/layer_norm.cu`.

use super::{BIAS, LayerNorm, WEIGHT};
use crate::Result;
use crate::device::args::{LayerNormBackwardArgs, LayerNormForwardArgs};
use crate::ops::{KernelBackward, KernelForward, place};

/// Blocks that sum: 32 channels × 16 pixels.
const SUM_BLOCK: [u32; 3] = [32, 16, 1];
/// Threads that take a pixel's statistics.
const STATISTICS_LANES: usize = 32;

/// Partial sums a channel: enough for about 512 blocks, a full wave of a large GPU.
fn parts(channels: usize) -> usize {
    (512 / channels.div_ceil(32)).clamp(8, 512)
}

/// Partial sums of the parameters' gradients.
pub fn workspace_bytes(channels: usize) -> usize {
    parts(channels) * 2 * channels * 8
}

pub fn forward(norm: &LayerNorm, ctx: &KernelForward<'_>) -> Result<()> {
    let y = ctx.output;
    let args = LayerNormForwardArgs {
        x: ctx.inputs[0].address,
        y: y.address,
        weight: ctx.params[WEIGHT].address,
        bias: ctx.params[BIAS].address,
        saved: if ctx.saved.elements() > 0 { ctx.saved.address } else { 0 },
        state: ctx.state_address,
        pixels: y.map().pixels() as u32,
        channels: norm.channels as u32,
        eps: norm.eps,
    };
    if place::are_rows(norm.channels) {
        // SAFETY: the arguments are views of `ctx`.
        return unsafe { ctx.launch("layer_norm_forward_f32_row", place::rows(y), &args) };
    }
    // SAFETY: as above.
    unsafe { ctx.launch("layer_norm_forward_f32", place::pixels(y, STATISTICS_LANES), &args) }
}

pub fn backward(norm: &LayerNorm, ctx: &KernelBackward<'_>) -> Result<()> {
    let gradients =
        [ctx.input_gradients[0], ctx.param_gradients[WEIGHT], ctx.param_gradients[BIAS]];
    let ([dx, dweight, dbias], accumulate) = ctx.addresses(gradients);
    let dy = ctx.output_gradient;
    let args = LayerNormBackwardArgs {
        x: ctx.inputs[0].address,
        dy: dy.address,
        dx,
        weight: ctx.params[WEIGHT].address,
        dweight,
        dbias,
        saved: ctx.saved.address,
        partial: ctx.workspace.address,
        state: ctx.state_address,
        pixels: dy.map().pixels() as u32,
        channels: norm.channels as u32,
        parts: parts(norm.channels) as u32,
        accumulate,
    };
    if dx != 0 && place::are_rows(norm.channels) {
        // SAFETY: the arguments are views of `ctx`.
        unsafe { ctx.launch("layer_norm_input_gradient_f32_row", place::rows(dy), &args) }?;
    } else if dx != 0 {
        let grid = place::pixels(dy, place::TILE_LANES);
        // SAFETY: as above.
        unsafe { ctx.launch("layer_norm_input_gradient_f32", grid, &args) }?;
    }
    if dweight == 0 && dbias == 0 {
        return Ok(());
    }
    let tiles = norm.channels.div_ceil(32) as u32;
    // SAFETY: as above.
    unsafe { ctx.launch("layer_norm_partials_f64", ([args.parts, tiles, 1], SUM_BLOCK), &args) }?;
    // SAFETY: as above.
    unsafe { ctx.launch("layer_norm_param_gradients_f32", ([tiles, 1, 1], SUM_BLOCK), &args) }
}
