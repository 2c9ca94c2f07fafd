//! Reductions over channels on the CPU.

use super::Reduce;
use crate::Result;
use crate::cpu::gemm::SendPtr;
use crate::cpu::wide::{LANES, LaneValues, Pieces, fold_lanes, for_each_piece, total};
use crate::ops::pixels::{self, EachPixel};
use crate::ops::{HostBackward, HostForward};
use crate::tensor::Map;

/// Folds every number of `x` into the value of its lane, which is `start` at first.
#[inline(always)]
fn by_lanes(x: &[f32], start: f32, into: impl Fn(f32, f32) -> f32) -> LaneValues {
    let (tiles, rest) = x.as_chunks::<LANES>();
    let mut lanes = [start; LANES];
    for tile in tiles {
        for lane in 0..LANES {
            lanes[lane] = into(lanes[lane], tile[lane]);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = into(*lane, *x);
    }
    lanes
}

/// The larger of two, or the NaN among them.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() { a } else { b }
}

/// What a pixel becomes.
#[inline(always)]
fn reduced(op: Reduce, x: &[f32]) -> f32 {
    let sum = |x| total(&by_lanes(x, 0.0, |sum, x| sum + x));
    match op {
        Reduce::Mean => sum(x) / x.len() as f32,
        Reduce::Sum => sum(x),
        Reduce::Max => {
            let most = by_lanes(x, f32::NEG_INFINITY, |most, x| larger(x, most));
            fold_lanes(&most, |a, b| larger(b, a))
        }
        Reduce::L2 => total(&by_lanes(x, 0.0, |sum, x| x.mul_add(x, sum))).sqrt(),
    }
}

/// Pixels of the output, of which each has one number.
struct OutputPixels<'a> {
    op: Reduce,
    input: Map,
    x: &'a [f32],
}

impl EachPixel for OutputPixels<'_> {
    #[inline(always)]
    fn of(&self, image: usize, row: usize, column: usize, y: &mut [f32]) {
        let at = image * self.input.elements() + self.input.index(row, column, 0);
        y[0] = reduced(self.op, &self.x[at..at + self.input.channels]);
    }
}

pub fn forward(op: Reduce, ctx: &mut HostForward<'_>) -> Result<()> {
    let work = OutputPixels { op, input: ctx.input_map(0), x: ctx.input(0) };
    let y = ctx.output();
    pixels::forward(ctx, y, &work);
    Ok(())
}

/// Rows of the input's gradient.
struct InputRows<'a> {
    op: Reduce,
    input: Map,
    x: &'a [f32],
    y: &'a [f32],
    dy: &'a [f32],
    dx: SendPtr<f32>,
    accumulate: bool,
}

impl InputRows<'_> {
    /// dx (+)= f(number of the channel) of a pixel.
    #[inline(always)]
    fn write(&self, pixel: usize, f: impl Fn(usize) -> f32) {
        let channels = self.input.channels;
        // SAFETY: this pixel's part of the gradient, which is this piece's.
        let dx = unsafe {
            std::slice::from_raw_parts_mut(self.dx.get().add(pixel * channels), channels)
        };
        for (channel, dx) in dx.iter_mut().enumerate() {
            let value = f(channel);
            *dx = if self.accumulate { *dx + value } else { value };
        }
    }

    fn pixel(&self, pixel: usize) -> (&[f32], f32) {
        let channels = self.input.channels;
        (&self.x[pixel * channels..(pixel + 1) * channels], self.y[pixel])
    }
}

impl Pieces for InputRows<'_> {
    #[inline(always)]
    fn run(&self, piece: usize) {
        let Map { width, channels, .. } = self.input;
        for pixel in piece * width..(piece + 1) * width {
            let dy = self.dy[pixel];
            match self.op {
                Reduce::Mean => {
                    let share = dy / channels as f32;
                    self.write(pixel, |_| share);
                }
                Reduce::Sum => self.write(pixel, |_| dy),
                Reduce::Max => {
                    let (x, y) = self.pixel(pixel);
                    // Where y is NaN no x equals it: the count is 0, and 0 / 0 is NaN.
                    let count = x.iter().filter(|x| **x == y).count() as f32;
                    let [share, nothing] = [dy / count, dy * 0.0 / count];
                    self.write(pixel, |channel| if x[channel] == y { share } else { nothing });
                }
                Reduce::L2 => {
                    let (x, y) = self.pixel(pixel);
                    self.write(pixel, |channel| {
                        let direction = if y == 0.0 { 0.0 } else { x[channel] / y };
                        dy * direction
                    });
                }
            }
        }
    }
}

pub fn backward(op: Reduce, ctx: &mut HostBackward<'_>) -> Result<()> {
    let input = ctx.input_map(0);
    let pieces = ctx.images() * input.height;
    let dy = ctx.output_gradient();
    let needs_values = matches!(op, Reduce::Max | Reduce::L2);
    let (x, y): (&[f32], &[f32]) =
        if needs_values { (ctx.input(0), ctx.output()) } else { (&[], &[]) };
    let Some((dx, accumulate)) = ctx.input_gradient(0) else { return Ok(()) };
    let dx = SendPtr(dx.as_mut_ptr());
    for_each_piece(true, pieces, &InputRows { op, input, x, y, dy, dx, accumulate });
    Ok(())
}
