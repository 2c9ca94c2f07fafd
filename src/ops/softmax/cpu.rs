//! Softmax on the CPU.

use crate::Result;
use crate::cpu::exponential::exp_minus;
use crate::cpu::gemm::SendPtr;
use crate::cpu::wide::{LANES, LaneValues, Pieces, for_each_piece, load, store_or_add, total};
use crate::ops::pixels::{self, EachPixel};
use crate::ops::{HostBackward, HostForward};
use crate::tensor::Map;

/// The largest of some numbers; a NaN among them is passed over, and makes the sum NaN.
#[inline(always)]
fn largest(x: &[f32]) -> f32 {
    let (tiles, rest) = x.as_chunks::<LANES>();
    let mut most: LaneValues = [f32::NEG_INFINITY; LANES];
    for tile in tiles {
        for lane in 0..LANES {
            most[lane] = if tile[lane] > most[lane] { tile[lane] } else { most[lane] };
        }
    }
    let all = most.iter().chain(rest);
    all.fold(f32::NEG_INFINITY, |most, x| if *x > most { *x } else { most })
}

struct OutputPixels<'a> {
    map: Map,
    /// The first channel of the box.
    start: usize,
    x: &'a [f32],
}

impl EachPixel for OutputPixels<'_> {
    const AVX512: bool = true;

    #[inline(always)]
    fn of(&self, image: usize, row: usize, column: usize, y: &mut [f32]) {
        let channels = self.map.channels;
        let at = image * self.map.elements() + self.map.index(row, column, 0);
        let x = &self.x[at..at + channels];
        let most = largest(x);
        let mut sum: LaneValues = [0.0; LANES];
        for channel in (0..channels).step_by(LANES) {
            let lanes = LANES.min(channels - channel);
            let tile = load(x, channel, lanes);
            let mut e: LaneValues = [0.0; LANES];
            for lane in 0..LANES {
                e[lane] = exp_minus(most - tile[lane]);
            }
            for lane in 0..lanes {
                sum[lane] += e[lane];
            }
        }
        let sum = total(&sum);
        let x = &x[self.start..];
        for (tile, y) in y.chunks_mut(LANES).enumerate() {
            let mut tile = load(x, tile * LANES, y.len());
            for value in &mut tile {
                *value = exp_minus(most - *value) / sum;
            }
            y.copy_from_slice(&tile[..y.len()]);
        }
    }
}

pub fn forward(ctx: &mut HostForward<'_>) -> Result<()> {
    let (map, start, y) = (ctx.output_map(), ctx.region.channels.start, ctx.output());
    pixels::forward(ctx, y, &OutputPixels { map, start, x: ctx.input(0) });
    Ok(())
}

/// Rows of dx (+)= y · (dy − Σ y·dy).
struct InputRows<'a> {
    map: Map,
    y: &'a [f32],
    dy: &'a [f32],
    dx: SendPtr<f32>,
    accumulate: bool,
}

impl Pieces for InputRows<'_> {
    #[inline(always)]
    fn run(&self, piece: usize) {
        let Map { width, channels, .. } = self.map;
        for pixel in piece * width..(piece + 1) * width {
            let mut dot: LaneValues = [0.0; LANES];
            for channel in (0..channels).step_by(LANES) {
                let (at, lanes) = (pixel * channels + channel, LANES.min(channels - channel));
                let (y, dy) = (load(self.y, at, lanes), load(self.dy, at, lanes));
                for lane in 0..LANES {
                    dot[lane] = y[lane].mul_add(dy[lane], dot[lane]);
                }
            }
            let dot = total(&dot);
            for channel in (0..channels).step_by(LANES) {
                let (at, lanes) = (pixel * channels + channel, LANES.min(channels - channel));
                let (y, mut dy) = (load(self.y, at, lanes), load(self.dy, at, lanes));
                for lane in 0..LANES {
                    dy[lane] = y[lane] * (dy[lane] - dot);
                }
                // SAFETY: `lanes` elements of this pixel, which is this piece's.
                unsafe { store_or_add(self.dx.get().add(at), &dy, lanes, self.accumulate) };
            }
        }
    }
}

pub fn backward(ctx: &mut HostBackward<'_>) -> Result<()> {
    let map = ctx.output_map();
    let pieces = ctx.images() * map.height;
    let Some((dx, accumulate)) = ctx.input_gradient(0) else { return Ok(()) };
    let dx = SendPtr(dx.as_mut_ptr());
    let work = InputRows { map, y: ctx.output(), dy: ctx.output_gradient(), dx, accumulate };
    for_each_piece(true, pieces, &work);
    Ok(())
}
