//! Batch normalisation on the CPU: one pass over the data for the sums, one to write.

use super::{BIAS, BatchNorm, EVAL_PARAMS, NUM_BATCHES_TRACKED, RUNNING_MEAN, RUNNING_VAR, WEIGHT};
use crate::Result;
use crate::cpu::gemm::SendPtr;
use crate::cpu::wide::{LANES, LaneValues, Pieces, for_each_piece, load, store, store_or_add};
use crate::ops::{HostBackward, HostForward, pixels};
use crate::tensor::{Map, Region};

/// Σ a and Σ a·(b − center) of each channel over pixels, and how many pixels. Sums of shards add up.
struct ChannelSums {
    first: Vec<f64>,
    second: Vec<f64>,
    count: f64,
}

/// Sums over chunks of pixels, one row of `partial` each.
struct SumChunks<'a> {
    pixels: usize,
    chunk: usize,
    channels: usize,
    a: &'a [f32],
    b: &'a [f32],
    center: &'a [f32],
    partial: SendPtr<[[f64; LANES]; 2]>,
}

impl Pieces for SumChunks<'_> {
    const AVX512: bool = true;

    #[inline(always)]
    fn run(&self, piece: usize) {
        /// Pixels whose tiles are added before the next tile's.
        const BLOCK: usize = 8;
        let SumChunks { channels, chunk, .. } = *self;
        let tiles = channels.div_ceil(LANES);
        let first = self.partial.get().wrapping_add(piece * tiles);
        // SAFETY: each piece's own tiles.
        let tiles = unsafe { std::slice::from_raw_parts_mut(first, tiles) };
        let end = self.pixels.min((piece + 1) * chunk);
        for block in (piece * chunk..end).step_by(BLOCK) {
            for (tile, sums) in tiles.iter_mut().enumerate() {
                let channel = tile * LANES;
                let lanes = LANES.min(channels - channel);
                let center = load(self.center, channel, lanes);
                let [mut first, mut second] = *sums;
                for pixel in block..end.min(block + BLOCK) {
                    let at = pixel * channels + channel;
                    let (a, b) = (load(self.a, at, lanes), load(self.b, at, lanes));
                    for lane in 0..LANES {
                        let a = f64::from(a[lane]);
                        first[lane] += a;
                        second[lane] += a * f64::from(b[lane] - center[lane]);
                    }
                }
                *sums = [first, second];
            }
        }
    }
}

/// The sums of one pass over `pixels` values a channel, in an order that follows from the number of
/// pixels alone.
fn sums(pixels: usize, a: &[f32], b: &[f32], center: &[f32], parallel: bool) -> ChannelSums {
    let channels = center.len();
    let chunk = pixels.div_ceil(256).max(256);
    let tiles = channels.div_ceil(LANES);
    let mut partial = vec![[[0f64; LANES]; 2]; pixels.div_ceil(chunk) * tiles];
    let parts = SendPtr(partial.as_mut_ptr());
    let work = SumChunks { pixels, chunk, channels, a, b, center, partial: parts };
    for_each_piece(parallel, pixels.div_ceil(chunk), &work);
    let mut sums = ChannelSums {
        first: vec![0.0; channels],
        second: vec![0.0; channels],
        count: pixels as f64,
    };
    for part in partial.chunks_exact(tiles) {
        let [first, second] = [0, 1].map(|i| part.iter().flat_map(move |tile| tile[i]));
        sums.first.iter_mut().zip(first).for_each(|(sum, part)| *sum += part);
        sums.second.iter_mut().zip(second).for_each(|(sum, part)| *sum += part);
    }
    sums
}

/// Channels up to which a pixel is too short for a loop of its own.
const NARROW: usize = 64;

/// Rows of a box: y = fmaf(x − center, scale, shift). (A center of zero leaves every bit of x.)
struct OutputRows<'a> {
    map: Map,
    region: Region,
    x: &'a [f32],
    center: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    y: SendPtr<f32>,
}

impl Pieces for OutputRows<'_> {
    const AVX512: bool = true;

    #[inline(always)]
    fn run(&self, piece: usize) {
        let OutputRows { map, region, .. } = self;
        let (image, row) = region.row(piece);
        if region.channels.len() <= NARROW {
            // Tile by tile of channels, so that what is a channel's stays in registers.
            for channel in region.channels.range().step_by(LANES) {
                let lanes = LANES.min(region.channels.end - channel);
                let [center, scale, shift] =
                    [self.center, self.scale, self.shift].map(|of| load(of, channel, lanes));
                for column in region.columns.range() {
                    let at = image * map.elements() + map.index(row, column, channel);
                    let x = load(self.x, at, lanes);
                    let mut tile: LaneValues = [0.0; LANES];
                    for lane in 0..LANES {
                        tile[lane] = (x[lane] - center[lane]).mul_add(scale[lane], shift[lane]);
                    }
                    // SAFETY: `lanes` elements of this piece's row.
                    unsafe { store(self.y.get().add(at), &tile, lanes) };
                }
            }
            return;
        }
        let (first, count) = (region.channels.start, region.channels.len());
        let [center, scale, shift] =
            [self.center, self.scale, self.shift].map(|of| &of[first..][..count]);
        for column in region.columns.range() {
            let at = image * map.elements() + map.index(row, column, first);
            let x = &self.x[at..][..count];
            // SAFETY: elements of this piece's row, which no other piece writes.
            let y = unsafe { std::slice::from_raw_parts_mut(self.y.get().add(at), count) };
            for c in 0..count {
                y[c] = (x[c] - center[c]).mul_add(scale[c], shift[c]);
            }
        }
    }
}

fn write_box(ctx: &HostForward<'_>, y: &mut [f32], [center, scale, shift]: [&[f32]; 3]) {
    let (map, region) = (ctx.output_map(), ctx.region);
    pixels::require_box(y, map, region);
    let y = SendPtr(y.as_mut_ptr());
    let rows = OutputRows { map, region, x: ctx.input(0), center, scale, shift, y };
    for_each_piece(ctx.parallel, region.row_count(), &rows);
}

pub fn forward(norm: &BatchNorm, ctx: &mut HostForward<'_>) -> Result<()> {
    norm.require_several(ctx)?;
    if ctx.training() {
        train(norm, ctx);
    } else {
        let y = ctx.output();
        let params = EVAL_PARAMS.map(|index| ctx.param(index));
        let (scale, shift) = norm.scale_and_shift(params);
        write_box(ctx, y, [&vec![0.0; norm.channels], &scale, &shift]);
    }
    Ok(())
}

fn train(norm: &BatchNorm, ctx: &mut HostForward<'_>) {
    let channels = norm.channels;
    let (x, pixels) = (ctx.input(0), ctx.images() * ctx.output_map().pixels());
    let sums = sums(pixels, x, x, &vec![0.0; channels], ctx.parallel);
    // Sums over several devices would be reduced here.
    let (mut mean, mut invstd) = (vec![0f32; channels], vec![0f32; channels]);
    let [running_mean, running_var] = ctx.two_params_mut([RUNNING_MEAN, RUNNING_VAR]);
    for c in 0..channels {
        let m = sums.first[c] / sums.count;
        let var = sums.second[c] / sums.count - m * m;
        let var = if var < 0.0 { 0.0 } else { var };
        mean[c] = m as f32;
        invstd[c] = (1.0 / (var + f64::from(norm.eps)).sqrt()) as f32;
        let unbiased = (var * (sums.count / (sums.count - 1.0))) as f32;
        running_mean[c] = (1.0 - norm.momentum) * running_mean[c] + norm.momentum * mean[c];
        running_var[c] = (1.0 - norm.momentum) * running_var[c] + norm.momentum * unbiased;
    }
    let counter = &mut ctx.param_u32_mut(NUM_BATCHES_TRACKED)[0];
    *counter = counter.wrapping_add(1);
    let (y, saved) = (ctx.output(), ctx.saved());
    let (weight, bias) = (ctx.param(WEIGHT), ctx.param(BIAS));
    let scale: Vec<f32> = weight.iter().zip(&invstd).map(|(w, invstd)| w * invstd).collect();
    write_box(ctx, y, [&mean, &scale, bias]);
    // Nothing is saved where no backward pass will ask for it.
    if let Some((saved_mean, saved_invstd)) = saved.split_at_mut_checked(channels) {
        saved_mean.copy_from_slice(&mean);
        saved_invstd.copy_from_slice(&invstd);
    }
}

/// With x̂ = (x − mean) · invstd: dbias = Σ dy, dweight = Σ dy·x̂, and in training
/// dx = weight·invstd · (dy − Σdy/N − x̂ · Σ(dy·x̂)/N); in eval mode dx = dy · scale.
pub fn backward(norm: &BatchNorm, ctx: &mut HostBackward<'_>) -> Result<()> {
    let (channels, training) = (norm.channels, ctx.state.training != 0);
    let pixels = ctx.images() * ctx.output_map().pixels();
    let (x, dy, weight) = (ctx.input(0), ctx.output_gradient(), ctx.param(WEIGHT));
    let running_invstd: Vec<f32>;
    let (mean, invstd) = if training {
        ctx.saved().split_at(channels)
    } else {
        let var = ctx.param(RUNNING_VAR);
        running_invstd = var.iter().map(|var| 1.0 / (var + norm.eps).sqrt()).collect();
        (ctx.param(RUNNING_MEAN), running_invstd.as_slice())
    };
    let gradients = [WEIGHT, BIAS].map(|param| ctx.param_gradient(param));
    // In eval mode the gradient of the input needs no sums.
    let summed = if training || gradients.iter().any(Option::is_some) { pixels } else { 0 };
    let sums = sums(summed, dy, x, mean, true);
    let write = |gradient: Option<(&mut [f32], bool)>, value: &dyn Fn(usize) -> f64| {
        let Some((gradient, accumulate)) = gradient else { return };
        for (c, gradient) in gradient.iter_mut().enumerate() {
            let value = value(c) as f32;
            *gradient = if accumulate { *gradient + value } else { value };
        }
    };
    let [dweight, dbias] = gradients;
    write(dweight, &|c| sums.second[c] * f64::from(invstd[c]));
    write(dbias, &|c| sums.first[c]);
    // Sums over several devices would be reduced here.
    let Some((dx, accumulate)) = ctx.input_gradient(0) else { return Ok(()) };
    let mut scale: Vec<f32> = weight.iter().zip(invstd).map(|(w, invstd)| w * invstd).collect();
    let (mut offset, mut slope) = (vec![0f32; channels], vec![0f32; channels]);
    if training {
        for c in 0..channels {
            let invstd = f64::from(invstd[c]);
            offset[c] = (sums.first[c] / sums.count) as f32;
            slope[c] = (sums.second[c] / sums.count * invstd * invstd) as f32;
        }
    } else {
        let params = EVAL_PARAMS.map(|index| ctx.param(index));
        scale = norm.scale_and_shift(params).0;
    }
    let chunks = GradientChunks {
        pixels,
        channels,
        training,
        x,
        dy,
        mean,
        scale: &scale,
        offset: &offset,
        slope: &slope,
        dx: SendPtr(dx.as_mut_ptr()),
        accumulate,
    };
    for_each_piece(true, pixels.div_ceil(CHUNK), &chunks);
    Ok(())
}

/// Pixels of a piece of [`GradientChunks`].
const CHUNK: usize = 256;

/// Chunks of dx (+)= scale · (dy − offset − (x − mean) · slope), in eval mode of scale · dy.
struct GradientChunks<'a> {
    pixels: usize,
    channels: usize,
    training: bool,
    x: &'a [f32],
    dy: &'a [f32],
    mean: &'a [f32],
    scale: &'a [f32],
    offset: &'a [f32],
    slope: &'a [f32],
    dx: SendPtr<f32>,
    accumulate: bool,
}

impl Pieces for GradientChunks<'_> {
    #[inline(always)]
    fn run(&self, piece: usize) {
        let channels = self.channels;
        for pixel in piece * CHUNK..self.pixels.min((piece + 1) * CHUNK) {
            for channel in (0..channels).step_by(LANES) {
                let lanes = LANES.min(channels - channel);
                let at = pixel * channels + channel;
                let mut tile = load(self.dy, at, lanes);
                if self.training {
                    let x = load(self.x, at, lanes);
                    let mean = load(self.mean, channel, lanes);
                    let offset = load(self.offset, channel, lanes);
                    let slope = load(self.slope, channel, lanes);
                    for lane in 0..LANES {
                        let rest = tile[lane] - offset[lane];
                        tile[lane] = (mean[lane] - x[lane]).mul_add(slope[lane], rest);
                    }
                }
                let scale = load(self.scale, channel, lanes);
                for lane in 0..LANES {
                    tile[lane] *= scale[lane];
                }
                // SAFETY: `lanes` elements of this piece's pixels.
                unsafe { store_or_add(self.dx.get().add(at), &tile, lanes, self.accumulate) };
            }
        }
    }
}
