//! Softmax on the CPU.

use crate::Result;
use crate::cpu::exponential::exp_minus;
use crate::cpu::gemm::SendPtr;
use crate::cpu::wide::{
    LANES, LaneValues, Pieces, for_each_piece, load, store, store_or_add, total,
};
use crate::ops::{HostBackward, HostForward};
use crate::tensor::{Map, Region};

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

/// The rows of a box.
struct OutputRows<'a> {
    map: Map,
    region: Region,
    x: &'a [f32],
    y: SendPtr<f32>,
}

impl Pieces for OutputRows<'_> {
    const AVX512: bool = true;

    #[inline(always)]
    fn run(&self, piece: usize) {
        let channels = self.map.channels;
        let (image, row) = self.region.row(piece);
        for column in self.region.columns.range() {
            let pixel = image * self.map.elements() + self.map.index(row, column, 0);
            let x = &self.x[pixel..pixel + channels];
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
            for channel in self.region.channels.range().step_by(LANES) {
                let lanes = LANES.min(self.region.channels.end - channel);
                let mut tile = load(x, channel, lanes);
                for value in &mut tile {
                    *value = exp_minus(most - *value) / sum;
                }
                // SAFETY: `lanes` elements of this pixel.
                unsafe { store(self.y.get().add(pixel + channel), &tile, lanes) };
            }
        }
    }
}

pub fn forward(ctx: &mut HostForward<'_>) -> Result<()> {
    let (map, region) = (ctx.output_map(), ctx.region);
    let y = SendPtr(ctx.output().as_mut_ptr());
    let work = OutputRows { map, region, x: ctx.input(0), y };
    for_each_piece(ctx.parallel, region.row_count(), &work);
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
