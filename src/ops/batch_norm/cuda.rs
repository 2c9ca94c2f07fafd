//! Arguments and grids of `kernels/norm/batch_norm.cu`.

use super::{BIAS, BatchNorm, NUM_BATCHES_TRACKED, RUNNING_MEAN, RUNNING_VAR, WEIGHT};
use crate::device::LaunchConfig;
use crate::device::args::{BatchNormBackwardArgs, BatchNormForwardArgs, BatchNormSums};
use crate::ops::{KernelBackward, KernelForward};
use crate::tensor::{Map, Tensor};
use crate::{Error, Result};

/// Blocks that sum: 32 channels × 16 parts, or 8 quads of channels × 64 pixels.
const SUM_BLOCK: [u32; 3] = [32, 16, 1];
/// Blocks that write maps: 8 quads of channels × 32 pixels, over 128 pixels.
const MAP_BLOCK: [u32; 3] = [8, 32, 1];
const PIXELS_PER_BLOCK: usize = 128;

/// Blocks that lie side by side over the channels.
fn tiles(channels: usize) -> usize {
    channels.div_ceil(32)
}

/// Partial sums a channel: enough for about 512 blocks, a full wave of a large GPU.
fn parts(channels: usize) -> usize {
    (512 / tiles(channels)).clamp(8, 512)
}

fn partial_bytes(channels: usize) -> usize {
    parts(channels) * 2 * channels * 8
}

/// Partial sums, their totals, and the count.
pub fn workspace_bytes(channels: usize) -> usize {
    partial_bytes(channels) + (2 * channels + 1) * 8
}

/// A thread a channel.
fn channel_grid(channels: usize) -> LaunchConfig {
    ([channels.div_ceil(256) as u32, 1, 1], [256, 1, 1])
}

fn map_grid(tensor: Tensor) -> LaunchConfig {
    let pixels = tensor.images * tensor.map().pixels();
    let blocks = pixels.div_ceil(PIXELS_PER_BLOCK) as u32;
    ([blocks, tiles(tensor.map().channels) as u32, 1], MAP_BLOCK)
}

fn sum_grid(channels: usize) -> LaunchConfig {
    ([parts(channels) as u32, tiles(channels) as u32, 1], SUM_BLOCK)
}

/// Sums over maps like `map`, in a workspace.
fn sums(map: Map, workspace: u64, state: u64) -> BatchNormSums {
    BatchNormSums {
        partial: workspace,
        totals: workspace + partial_bytes(map.channels) as u64,
        state,
        pixels: map.pixels() as u32,
        channels: map.channels as u32,
        parts: parts(map.channels) as u32,
    }
}

/// The kernel that adds the parts up.
const COMBINE: &str = "batch_norm_combine_f64";

fn combine_grid(channels: usize) -> LaunchConfig {
    ([tiles(channels) as u32, 1, 1], SUM_BLOCK)
}

pub fn forward(norm: &BatchNorm, ctx: &KernelForward<'_>) -> Result<()> {
    norm.require_several(ctx)?;
    let (y, channels) = (ctx.output, norm.channels);
    let args = BatchNormForwardArgs {
        sums: sums(y.map(), ctx.workspace.address, ctx.state_address),
        x: ctx.inputs[0].address,
        y: y.address,
        weight: ctx.params[WEIGHT].address,
        bias: ctx.params[BIAS].address,
        running_mean: ctx.params[RUNNING_MEAN].address,
        running_var: ctx.params[RUNNING_VAR].address,
        counter: ctx.params[NUM_BATCHES_TRACKED].address,
        saved: ctx.saved.address,
        eps: norm.eps,
        momentum: norm.momentum,
    };
    if !ctx.training() {
        // SAFETY: the arguments are views of `ctx`.
        return unsafe { ctx.launch("batch_norm_eval_f32", map_grid(y), &args) };
    }
    if 4 * ctx.saved.elements() < 8 * channels {
        let detail = "batch statistics need the memory of the train plan";
        return Err(Error::Kernel { kernel: "batch_norm".into(), detail: detail.into() });
    }
    // SAFETY: as above.
    unsafe { ctx.launch("batch_norm_forward_sums_f32", sum_grid(channels), &args) }?;
    // SAFETY: as above.
    unsafe { ctx.launch(COMBINE, combine_grid(channels), &args.sums) }?;
    // Totals over several GPUs would be reduced here.
    // SAFETY: as above.
    unsafe { ctx.launch("batch_norm_statistics_f32", channel_grid(channels), &args) }?;
    // SAFETY: as above.
    unsafe { ctx.launch("batch_norm_normalize_f32", map_grid(y), &args) }
}

pub fn backward(norm: &BatchNorm, ctx: &KernelBackward<'_>) -> Result<()> {
    let (channels, training) = (norm.channels, ctx.state.training != 0);
    let gradients =
        [ctx.input_gradients[0], ctx.param_gradients[WEIGHT], ctx.param_gradients[BIAS]];
    let ([dx, dweight, dbias], accumulate) = ctx.addresses(gradients);
    let (mean, spread) = if training {
        (ctx.saved.address, ctx.saved.address + 4 * channels as u64)
    } else {
        (ctx.params[RUNNING_MEAN].address, ctx.params[RUNNING_VAR].address)
    };
    let args = BatchNormBackwardArgs {
        sums: sums(ctx.output_map(), ctx.workspace.address, ctx.state_address),
        x: ctx.inputs[0].address,
        dy: ctx.output_gradient.address,
        dx,
        weight: ctx.params[WEIGHT].address,
        dweight,
        dbias,
        mean,
        spread,
        eps: norm.eps,
        training: u32::from(training),
        accumulate,
    };
    // In eval mode the gradient of the input needs no sums.
    if training || dweight != 0 || dbias != 0 {
        // SAFETY: the arguments are views of `ctx`.
        unsafe { ctx.launch("batch_norm_backward_sums_f32", sum_grid(channels), &args) }?;
        // SAFETY: as above.
        unsafe { ctx.launch(COMBINE, combine_grid(channels), &args.sums) }?;
        let config = channel_grid(channels);
        // SAFETY: as above.
        unsafe { ctx.launch("batch_norm_param_gradients_f32", config, &args) }?;
    }
    // Totals over several GPUs would be reduced here.
    if dx == 0 {
        return Ok(());
    }
    let config = map_grid(ctx.output_gradient);
    // SAFETY: as above.
    unsafe { ctx.launch("batch_norm_input_gradient_f32", config, &args) }
}
