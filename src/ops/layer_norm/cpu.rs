//! Layer normalisation on the CPU.

use super::{BIAS, LayerNorm, WEIGHT};
use crate::Result;
use crate::cpu::gemm::SendPtr;
use crate::cpu::wide::{LANES, LaneValues, Pieces, for_each_piece, load, store_or_add, total};
use crate::ops::pixels::{self, EachPixel};
use crate::ops::{HostBackward, HostForward};
use crate::tensor::{Map, Span};

/// Independent sums of a pixel: enough to hide the latency of an addition.
const SUMS: usize = 2 * LANES;

/// Mean and 1/√(var + eps) of a pixel.
#[inline(always)]
fn statistics(x: &[f32], eps: f32) -> [f32; 2] {
    let (tiles, rest) = x.as_chunks::<SUMS>();
    let count = x.len() as f32;
    let mut sum = [0f32; SUMS];
    for tile in tiles {
        for lane in 0..SUMS {
            sum[lane] += tile[lane];
        }
    }
    for (sum, x) in sum.iter_mut().zip(rest) {
        *sum += x;
    }
    let center = total(&sum) / count;
    let (mut sum, mut squares) = ([0f32; SUMS], [0f32; SUMS]);
    for tile in tiles {
        for lane in 0..SUMS {
            let difference = tile[lane] - center;
            sum[lane] += difference;
            squares[lane] = difference.mul_add(difference, squares[lane]);
        }
    }
    for ((sum, squares), x) in sum.iter_mut().zip(&mut squares).zip(rest) {
        let difference = x - center;
        *sum += difference;
        *squares = difference.mul_add(difference, *squares);
    }
    let correction = total(&sum) / count;
    let var = (-correction).mul_add(correction, total(&squares) / count);
    // Not f32::max, which would drop a NaN.
    let var = if var < 0.0 { 0.0 } else { var };
    [center + correction, 1.0 / (var + eps).sqrt()]
}

/// y = fmaf((x − mean) · 1/√(var + eps), weight, bias).
struct OutputPixels<'a> {
    map: Map,
    channels: Span,
    eps: f32,
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    /// Two numbers a pixel of the batch, where backward will ask for them.
    saved: Option<SendPtr<[f32; 2]>>,
}

impl EachPixel for OutputPixels<'_> {
    const AVX512: bool = true;

    #[inline(always)]
    fn of(&self, image: usize, row: usize, column: usize, y: &mut [f32]) {
        let channels = self.map.channels;
        let pixel = image * self.map.pixels() + row * self.map.width + column;
        let x = &self.x[pixel * channels..(pixel + 1) * channels];
        let [mean, invstd] = statistics(x, self.eps);
        if let Some(saved) = self.saved {
            // SAFETY: this pixel's two numbers.
            unsafe { saved.get().add(pixel).write([mean, invstd]) };
        }
        let range = self.channels.range();
        let params = self.weight[range.clone()].iter().zip(&self.bias[range.clone()]);
        for ((y, x), (weight, bias)) in y.iter_mut().zip(&x[range]).zip(params) {
            *y = ((x - mean) * invstd).mul_add(*weight, *bias);
        }
    }
}

pub fn forward(norm: &LayerNorm, ctx: &mut HostForward<'_>) -> Result<()> {
    let (saved, y) = (ctx.saved(), ctx.output());
    let work = OutputPixels {
        map: ctx.output_map(),
        channels: ctx.region.channels,
        eps: norm.eps,
        x: ctx.input(0),
        weight: ctx.param(WEIGHT),
        bias: ctx.param(BIAS),
        saved: (!saved.is_empty()).then(|| SendPtr(saved.as_mut_ptr().cast())),
    };
    pixels::forward(ctx, y, &work);
    Ok(())
}

/// Σ dy and Σ dy·x̂ of a tile of channels.
type TileSums = [[f64; LANES]; 2];

/// Chunks of pixels: dx, and the chunk's sums for the parameters.
struct PixelChunks<'a> {
    channels: usize,
    pixels: usize,
    chunk: usize,
    x: &'a [f32],
    dy: &'a [f32],
    weight: &'a [f32],
    saved: &'a [[f32; 2]],
    dx: Option<SendPtr<f32>>,
    accumulate: bool,
    sums: SendPtr<TileSums>,
}

impl PixelChunks<'_> {
    /// x̂ and dy of a tile; 0 past the last channel.
    #[inline(always)]
    fn tile(&self, pixel: usize, channel: usize, lanes: usize) -> (LaneValues, LaneValues) {
        let at = pixel * self.channels + channel;
        let [mean, invstd] = self.saved[pixel];
        let mut x = load(self.x, at, lanes);
        for x in &mut x {
            *x = (*x - mean) * invstd;
        }
        (x, load(self.dy, at, lanes))
    }

    /// With g = dy · weight: dx (+)= (g − mean of g − x̂ · mean of g·x̂) / √(var + eps).
    ///
    /// # Safety
    /// At `dx` lies the gradient of x, initialised where it is added to; no other thread uses this pixel's.
    #[inline(always)]
    unsafe fn write_dx(&self, dx: *mut f32, pixel: usize) {
        let channels = self.channels;
        let (mut sum, mut dot): (LaneValues, LaneValues) = ([0.0; LANES], [0.0; LANES]);
        for channel in (0..channels).step_by(LANES) {
            let lanes = LANES.min(channels - channel);
            let (x, dy) = self.tile(pixel, channel, lanes);
            let weight = load(self.weight, channel, lanes);
            for lane in 0..LANES {
                let g = dy[lane] * weight[lane];
                sum[lane] += g;
                dot[lane] = g.mul_add(x[lane], dot[lane]);
            }
        }
        let mean = total(&sum) / channels as f32;
        let slope = total(&dot) / channels as f32;
        let [_, invstd] = self.saved[pixel];
        for channel in (0..channels).step_by(LANES) {
            let lanes = LANES.min(channels - channel);
            let (x, mut dy) = self.tile(pixel, channel, lanes);
            let weight = load(self.weight, channel, lanes);
            for lane in 0..LANES {
                let g = dy[lane].mul_add(weight[lane], -mean);
                dy[lane] = (-x[lane]).mul_add(slope, g) * invstd;
            }
            let to = dx.wrapping_add(pixel * channels + channel);
            // SAFETY: `lanes` elements of this pixel, the caller's.
            unsafe { store_or_add(to, &dy, lanes, self.accumulate) };
        }
    }
}

impl Pieces for PixelChunks<'_> {
    #[inline(always)]
    fn run(&self, piece: usize) {
        /// Pixels whose sums are added tile by tile while they are in the cache.
        const BLOCK: usize = 4;
        let tiles = self.channels.div_ceil(LANES);
        let first = self.sums.get().wrapping_add(piece * tiles);
        // SAFETY: each piece's own tiles.
        let sums = unsafe { std::slice::from_raw_parts_mut(first, tiles) };
        let end = self.pixels.min((piece + 1) * self.chunk);
        for block in (piece * self.chunk..end).step_by(BLOCK) {
            let block = block..end.min(block + BLOCK);
            if let Some(dx) = self.dx {
                for pixel in block.clone() {
                    // SAFETY: a pixel of this piece alone; `backward` has dx as long as x.
                    unsafe { self.write_dx(dx.get(), pixel) };
                }
            }
            for (tile, sums) in sums.iter_mut().enumerate() {
                let channel = tile * LANES;
                let lanes = LANES.min(self.channels - channel);
                let [mut first, mut second] = *sums;
                for pixel in block.clone() {
                    let (x, dy) = self.tile(pixel, channel, lanes);
                    for lane in 0..LANES {
                        let dy = f64::from(dy[lane]);
                        first[lane] += dy;
                        second[lane] += dy * f64::from(x[lane]);
                    }
                }
                *sums = [first, second];
            }
        }
    }
}

/// dbias = Σ dy, dweight = Σ dy·x̂, over chunks of pixels whose size follows from their number.
pub fn backward(norm: &LayerNorm, ctx: &mut HostBackward<'_>) -> Result<()> {
    let channels = norm.channels;
    let pixels = ctx.images() * ctx.output_map().pixels();
    let chunk = pixels.div_ceil(256).max(64);
    let pieces = pixels.div_ceil(chunk);
    let tiles = channels.div_ceil(LANES);
    let mut sums: Vec<TileSums> = vec![[[0.0; LANES]; 2]; pieces * tiles];
    let dx = ctx.input_gradient(0);
    let accumulate = dx.as_ref().is_some_and(|(_, accumulate)| *accumulate);
    let work = PixelChunks {
        channels,
        pixels,
        chunk,
        x: ctx.input(0),
        dy: ctx.output_gradient(),
        weight: ctx.param(WEIGHT),
        saved: ctx.saved().as_chunks().0,
        dx: dx.map(|(dx, _)| SendPtr(dx.as_mut_ptr())),
        accumulate,
        sums: SendPtr(sums.as_mut_ptr()),
    };
    for_each_piece(true, pieces, &work);
    for (param, which) in [(BIAS, 0), (WEIGHT, 1)] {
        let Some((gradient, accumulate)) = ctx.param_gradient(param) else { continue };
        for (channel, gradient) in gradient.iter_mut().enumerate() {
            let (tile, lane) = (channel / LANES, channel % LANES);
            let sum: f64 = sums.chunks_exact(tiles).map(|part| part[tile][which][lane]).sum();
            *gradient = sum as f32 + if accumulate { *gradient } else { 0.0 };
        }
    }
    Ok(())
}
