//! Arguments and grids of `kernels/batch_norm.cu`.

use super::{BIAS, BatchNorm, NUM_BATCHES_TRACKED, RUNNING_MEAN, RUNNING_VAR, WEIGHT};
use crate::kernel_args;
use crate::ops::{KernelBackward, KernelForward};
use crate::tensor::Tensor;
use crate::{Error, Result};

kernel_args! {
    /// Arguments of the forward kernels.
    pub struct BatchNormForwardArgs {
        pub x: u64,
        pub y: u64,
        pub weight: u64,
        pub bias: u64,
        pub running_mean: u64,
        pub running_var: u64,
        pub counter: u64,
        pub saved: u64,
        pub partial: u64,
        pub totals: u64,
        pub state: u64,
        pub pixels: u32,
        pub channels: u32,
        pub parts: u32,
        pub eps: f32,
        pub momentum: f32,
        pub unused: u32,
    }
    /// Arguments of the backward kernels; gradients that nobody asks for are 0.
    pub struct BatchNormBackwardArgs {
        pub x: u64,
        pub dy: u64,
        pub dx: u64,
        pub weight: u64,
        pub dweight: u64,
        pub dbias: u64,
        pub mean: u64,
        /// 1/sqrt(var + eps) while training, otherwise the running variance.
        pub spread: u64,
        pub partial: u64,
        pub totals: u64,
        pub state: u64,
        pub pixels: u32,
        pub channels: u32,
        pub parts: u32,
        pub eps: f32,
        pub training: u32,
        /// Bits: 1 dx, 2 dweight, 4 dbias.
        pub accumulate: u32,
    }
    /// Arguments of `batch_norm_combine_f64`.
    pub struct BatchNormCombineArgs {
        pub partial: u64,
        pub totals: u64,
        pub state: u64,
        pub pixels: u32,
        pub channels: u32,
        pub parts: u32,
        pub unused: u32,
    }
}

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
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("batch_norm_backward_sums_f32", sum_grid(channels), SUM_BLOCK, &args) }?;
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
    unsafe {
        ctx.launch("batch_norm_param_gradients_f32", channel_grid(channels), CHANNEL_BLOCK, &args)
    }?;
    // Totals over several GPUs would be reduced here.
    if dx == 0 {
        return Ok(());
    }
    let grid = map_grid(ctx.output_gradient);
    unsafe { ctx.launch("batch_norm_input_gradient_f32", grid, MAP_BLOCK, &args) }
}
