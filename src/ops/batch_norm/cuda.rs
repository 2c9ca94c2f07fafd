//! Arguments and grids of `kernels/norm/batch_norm.cu`.

use super::{BIAS, BatchNorm, NUM_BATCHES_TRACKED, RUNNING_MEAN, RUNNING_VAR, WEIGHT};
use crate::device::args::{BatchNormBackwardArgs, BatchNormCombineArgs, BatchNormForwardArgs};
use crate::ops::{KernelBackward, KernelForward};
use crate::tensor::Tensor;
use crate::{Error, Result};

/// Blocks that sum: 32 channels × 16 parts, or 8 quads of channels × 64 pixels.
const SUM_BLOCK: [u32; 3] = [32, 16, 1];
/// Blocks that write maps: 8 quads of channels × 32 pixels, over 128 pixels.
const MAP_BLOCK: [u32; 3] = [8, 32, 1];
const PIXELS_PER_BLOCK: usize = 128;
/// Kernels with one thread a channel.
const CHANNEL_BLOCK: [u32; 3] = [256, 1, 1];

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

fn channel_grid(channels: usize) -> [u32; 3] {
    [channels.div_ceil(256) as u32, 1, 1]
}

fn map_grid(tensor: Tensor) -> [u32; 3] {
    let pixels = tensor.images * tensor.map().pixels();
    [pixels.div_ceil(PIXELS_PER_BLOCK) as u32, tiles(tensor.map().channels) as u32, 1]
}

fn sum_grid(channels: usize) -> [u32; 3] {
    [parts(channels) as u32, tiles(channels) as u32, 1]
}

pub fn forward(norm: &BatchNorm, ctx: &KernelForward<'_>) -> Result<()> {
    norm.require_several(ctx)?;
    ctx.require_whole("batch_norm")?;
    let (y, channels) = (ctx.output, norm.channels);
    let partial = ctx.workspace.address;
    let args = BatchNormForwardArgs {
        x: ctx.inputs[0].address,
        y: y.address,
        weight: ctx.params[WEIGHT].address,
        bias: ctx.params[BIAS].address,
        running_mean: ctx.params[RUNNING_MEAN].address,
        running_var: ctx.params[RUNNING_VAR].address,
        counter: ctx.params[NUM_BATCHES_TRACKED].address,
        saved: ctx.saved.address,
        partial,
        totals: partial + partial_bytes(channels) as u64,
        state: ctx.state_address,
        pixels: y.map().pixels() as u32,
        channels: channels as u32,
        parts: parts(channels) as u32,
        eps: norm.eps,
        momentum: norm.momentum,
        unused: 0,
    };
    if !ctx.training() {
        // SAFETY: the arguments are views of `ctx`.
        return unsafe { ctx.launch("batch_norm_eval_f32", map_grid(y), MAP_BLOCK, &args) };
    }
    if 4 * ctx.saved.elements() < 8 * channels {
        let detail = "batch statistics need the memory of the train plan";
        return Err(Error::Kernel { kernel: "batch_norm".into(), detail: detail.into() });
    }
    unsafe { ctx.launch("batch_norm_forward_sums_f32", sum_grid(channels), SUM_BLOCK, &args) }?;
    let combine = BatchNormCombineArgs {
        partial,
        totals: args.totals,
        state: args.state,
        pixels: args.pixels,
        channels: args.channels,
        parts: args.parts,
        unused: 0,
    };
    unsafe {
        ctx.launch("batch_norm_combine_f64", [tiles(channels) as u32, 1, 1], SUM_BLOCK, &combine)
    }?;
    // Totals over several GPUs would be reduced here.
    unsafe {
        ctx.launch("batch_norm_statistics_f32", channel_grid(channels), CHANNEL_BLOCK, &args)
    }?;
    unsafe { ctx.launch("batch_norm_normalize_f32", map_grid(y), MAP_BLOCK, &args) }
}

pub fn backward(norm: &BatchNorm, ctx: &KernelBackward<'_>) -> Result<()> {
    let (channels, training) = (norm.channels, ctx.state.training != 0);
    let partial = ctx.workspace.address;
    let gradients =
        [ctx.input_gradients[0], ctx.param_gradients[WEIGHT], ctx.param_gradients[BIAS]];
    let [dx, dweight, dbias] =
        gradients.map(|gradient| gradient.map_or(0, |gradient| gradient.tensor.address));
    let accumulate = gradients
        .iter()
        .enumerate()
        .map(|(bit, g)| u32::from(g.is_some_and(|g| g.accumulate)) << bit)
        .sum();
    let (mean, spread) = if training {
        (ctx.saved.address, ctx.saved.address + 4 * channels as u64)
    } else {
        (ctx.params[RUNNING_MEAN].address, ctx.params[RUNNING_VAR].address)
    };
    let args = BatchNormBackwardArgs {
        x: ctx.inputs[0].address,
        dy: ctx.output_gradient.address,
        dx,
        weight: ctx.params[WEIGHT].address,
        dweight,
        dbias,
        mean,
        spread,
        partial,
        totals: partial + partial_bytes(channels) as u64,
        state: ctx.state_address,
        pixels: ctx.output_map().pixels() as u32,
        channels: channels as u32,
        parts: parts(channels) as u32,
        eps: norm.eps,
        training: u32::from(training),
        accumulate,
    };
    // In eval mode the gradient of the input needs no sums.
    if training || dweight != 0 || dbias != 0 {
        // SAFETY: the arguments are views of `ctx`.
        unsafe {
            ctx.launch("batch_norm_backward_sums_f32", sum_grid(channels), SUM_BLOCK, &args)
        }?;
        let combine = BatchNormCombineArgs {
            partial,
            totals: args.totals,
            state: args.state,
            pixels: args.pixels,
            channels: args.channels,
            parts: args.parts,
            unused: 0,
        };
        unsafe {
            ctx.launch(
                "batch_norm_combine_f64",
                [tiles(channels) as u32, 1, 1],
                SUM_BLOCK,
                &combine,
            )
        }?;
        unsafe {
            ctx.launch(
                "batch_norm_param_gradients_f32",
                channel_grid(channels),
                CHANNEL_BLOCK,
                &args,
            )
        }?;
    }
    // Totals over several GPUs would be reduced here.
    if dx == 0 {
        return Ok(());
    }
    let grid = map_grid(ctx.output_gradient);
    // SAFETY: as above.
    unsafe { ctx.launch("batch_norm_input_gradient_f32", grid, MAP_BLOCK, &args) }
}
