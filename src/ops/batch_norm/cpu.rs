//! Batch normalisation on the CPU: one pass over the data for the sums, one to write.

use super::{BIAS, BatchNorm, NUM_BATCHES_TRACKED, RUNNING_MEAN, RUNNING_VAR, WEIGHT};
use crate::Result;
use crate::ops::gemm::{SendPtr, for_each_task};
use crate::ops::wide::{LANES, Tile, load, store, store_or_add, wide_block};
use crate::ops::{Backward, Forward};
use crate::tensor::Region;

/// Σ a and Σ a·b of each channel over pixels, and how many pixels. Sums of shards add up.
struct Sums {
    first: Vec<f64>,
    second: Vec<f64>,
    count: f64,
}

/// The sums of one pass over `pixels` × `channels` values; `pair(offset, channel, lanes)` is a
/// tile of a and b. The order of additions follows from the number of pixels alone.
fn sums(
    pixels: usize,
    channels: usize,
    parallel: bool,
    pair: impl Fn(usize, usize, usize) -> (Tile, Tile) + Sync,
) -> Sums {
    /// Pixels whose tiles are added before the next tile's.
    const BLOCK: usize = 8;
    let chunk = pixels.div_ceil(256).max(256);
    let tiles = channels.div_ceil(LANES);
    let mut partial = vec![[[0f64; LANES]; 2]; pixels.div_ceil(chunk) * tiles];
    let parts = SendPtr(partial.as_mut_ptr());
    let sum_chunk = |task: usize| {
        wide_block!({
            // SAFETY: each task's own tiles.
            let part =
                unsafe { std::slice::from_raw_parts_mut(parts.get().add(task * tiles), tiles) };
            let end = pixels.min((task + 1) * chunk);
            for block in (task * chunk..end).step_by(BLOCK) {
                for (tile, part) in part.iter_mut().enumerate() {
                    let channel = tile * LANES;
                    let lanes = LANES.min(channels - channel);
                    let [mut first, mut second] = *part;
                    for pixel in block..end.min(block + BLOCK) {
                        let (a, b) = pair(pixel * channels + channel, channel, lanes);
                        for lane in 0..LANES {
                            first[lane] += f64::from(a[lane]);
                            second[lane] += f64::from(a[lane]) * f64::from(b[lane]);
                        }
                    }
                    *part = [first, second];
                }
            }
        })
    };
    for_each_task(parallel, pixels.div_ceil(chunk), sum_chunk);
    let mut sums =
        Sums { first: vec![0.0; channels], second: vec![0.0; channels], count: pixels as f64 };
    for part in partial.chunks_exact(tiles) {
        let [first, second] = [0, 1].map(|i| part.iter().flat_map(move |tile| tile[i]));
        sums.first.iter_mut().zip(first).for_each(|(sum, part)| *sum += part);
        sums.second.iter_mut().zip(second).for_each(|(sum, part)| *sum += part);
    }
    sums
}

/// Eval mode's scale and shift.
fn scale_and_shift(eps: f32, params: [&[f32]; 4]) -> (Vec<f32>, Vec<f32>) {
    let [weight, bias, mean, var] = params;
    let scale: Vec<f32> = weight.iter().zip(var).map(|(w, var)| w / (var + eps).sqrt()).collect();
    let shift = (0..scale.len()).map(|c| bias[c] - mean[c] * scale[c]).collect();
    (scale, shift)
}

/// Writes `f(tile of x, channel, lanes)` over a box.
fn write_box(
    x: &[f32],
    y: &mut [f32],
    region: Region,
    ctx: &Forward<'_>,
    f: impl Fn(Tile, usize, usize) -> Tile + Sync,
) {
    let map = ctx.output_map();
    let y = SendPtr(y.as_mut_ptr());
    let row_task = |task: usize| {
        wide_block!({
            let image = region.images.start + task / region.rows.len();
            let row = region.rows.start + task % region.rows.len();
            for column in region.columns.range() {
                let pixel = image * map.elements() + map.index(row, column, 0);
                for channel in region.channels.range().step_by(LANES) {
                    let lanes = LANES.min(region.channels.end - channel);
                    let tile = f(load(x, pixel + channel, lanes), channel, lanes);
                    // SAFETY: `lanes` elements of this task's row.
                    unsafe { store(y.get().add(pixel + channel), &tile, lanes) };
                }
            }
        })
    };
    for_each_task(ctx.parallel, region.images.len() * region.rows.len(), row_task);
}

pub fn forward(norm: &BatchNorm, ctx: &mut Forward<'_>) -> Result<()> {
    if ctx.training() {
        train(norm, ctx);
    } else {
        let params = [WEIGHT, BIAS, RUNNING_MEAN, RUNNING_VAR].map(|index| ctx.param(index));
        let (scale, shift) = scale_and_shift(norm.eps, params);
        let (x, y) = (ctx.input(0), ctx.output());
        write_box(x, y, ctx.region, ctx, |x, channel, lanes| {
            let (scale, shift) = (load(&scale, channel, lanes), load(&shift, channel, lanes));
            std::array::from_fn(|lane| x[lane].mul_add(scale[lane], shift[lane]))
        });
    }
    Ok(())
}

fn train(norm: &BatchNorm, ctx: &mut Forward<'_>) {
    let (channels, map) = (norm.channels, ctx.output_map());
    let x = ctx.input(0);
    let sums = sums(ctx.images() * map.pixels(), channels, ctx.parallel, |at, _, lanes| {
        let x = load(x, at, lanes);
        (x, x)
    });
    // Sums over several devices would be reduced here.
    let (mut mean, mut invstd) = (vec![0f32; channels], vec![0f32; channels]);
    let (running_mean, running_var) = (ctx.param_mut(RUNNING_MEAN), ctx.param_mut(RUNNING_VAR));
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
    let (weight, bias) = (ctx.param(WEIGHT), ctx.param(BIAS));
    let scale: Vec<f32> = weight.iter().zip(&invstd).map(|(w, invstd)| w * invstd).collect();
    write_box(x, ctx.output(), Region::full(ctx.images(), map), ctx, |x, channel, lanes| {
        let (mean, scale) = (load(&mean, channel, lanes), load(&scale, channel, lanes));
        let bias = load(bias, channel, lanes);
        std::array::from_fn(|lane| (x[lane] - mean[lane]).mul_add(scale[lane], bias[lane]))
    });
    // Nothing is saved where no backward pass will ask for it.
    if let Some((saved_mean, saved_invstd)) = ctx.saved().split_at_mut_checked(channels) {
        saved_mean.copy_from_slice(&mean);
        saved_invstd.copy_from_slice(&invstd);
    }
}

/// With x̂ = (x − mean) · invstd: dbias = Σ dy, dweight = Σ dy·x̂, and in training
/// dx = weight·invstd · (dy − Σdy/N − x̂ · Σ(dy·x̂)/N); in eval mode dx = dy · scale.
pub fn backward(norm: &BatchNorm, ctx: &mut Backward<'_>) -> Result<()> {
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
    let sums = sums(pixels, channels, true, |at, channel, lanes| {
        let (x, mean) = (load(x, at, lanes), load(mean, channel, lanes));
        (load(dy, at, lanes), std::array::from_fn(|lane| x[lane] - mean[lane]))
    });
    let write = |gradient: Option<(&mut [f32], bool)>, value: &dyn Fn(usize) -> f64| {
        let Some((gradient, accumulate)) = gradient else { return };
        for (c, gradient) in gradient.iter_mut().enumerate() {
            let value = value(c) as f32;
            *gradient = if accumulate { *gradient + value } else { value };
        }
    };
    write(ctx.param_gradient(WEIGHT), &|c| sums.second[c] * f64::from(invstd[c]));
    write(ctx.param_gradient(BIAS), &|c| sums.first[c]);
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
        let params = [WEIGHT, BIAS, RUNNING_MEAN, RUNNING_VAR].map(|index| ctx.param(index));
        scale = scale_and_shift(norm.eps, params).0;
    }
    let dx = SendPtr(dx.as_mut_ptr());
    const CHUNK: usize = 256;
    let chunk_task = |task: usize| {
        wide_block!({
            for pixel in task * CHUNK..pixels.min((task + 1) * CHUNK) {
                for channel in (0..channels).step_by(LANES) {
                    let lanes = LANES.min(channels - channel);
                    let at = pixel * channels + channel;
                    let (dy, scale) = (load(dy, at, lanes), load(&scale, channel, lanes));
                    let tile: Tile = if training {
                        let (x, mean) = (load(x, at, lanes), load(mean, channel, lanes));
                        let (offset, slope) =
                            (load(&offset, channel, lanes), load(&slope, channel, lanes));
                        std::array::from_fn(|lane| {
                            let rest = dy[lane] - offset[lane];
                            (mean[lane] - x[lane]).mul_add(slope[lane], rest) * scale[lane]
                        })
                    } else {
                        std::array::from_fn(|lane| dy[lane] * scale[lane])
                    };
                    // SAFETY: `lanes` elements of this task's pixels.
                    unsafe { store_or_add(dx.get().add(at), &tile, lanes, accumulate) };
                }
            }
        })
    };
    for_each_task(true, pixels.div_ceil(CHUNK), chunk_task);
    Ok(())
}
