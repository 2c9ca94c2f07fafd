//! Ranges of channels on the CPU.

use super::Slice;
use crate::Result;
use crate::ops::product::start_from_zero;
use crate::ops::{HostBackward, HostForward, pixels};

pub fn forward(op: &Slice, ctx: &mut HostForward<'_>) -> Result<()> {
    let (x, from, y) = (ctx.input(0), ctx.input_map(0), ctx.output());
    let channel = op.channels.start + ctx.region.channels.start;
    pixels::forward(ctx, y, &|image: usize, row: usize, column: usize, y: &mut [f32]| {
        let at = image * from.elements() + from.index(row, column, channel);
        y.copy_from_slice(&x[at..at + y.len()]);
    });
    Ok(())
}

/// dx\[.., channels\] = dy; the other channels get nothing.
pub fn backward(op: &Slice, ctx: &mut HostBackward<'_>) -> Result<()> {
    let (from, to) = (ctx.input_map(0), ctx.output_map());
    let (images, dy) = (ctx.images(), ctx.output_gradient());
    let Some((dx, mut accumulate)) = ctx.input_gradient(0) else { return Ok(()) };
    start_from_zero(dx, images * from.elements(), &mut accumulate);
    let dy = dy.chunks_exact(to.channels);
    for (dx, dy) in dx.chunks_exact_mut(from.channels).zip(dy).take(images * from.pixels()) {
        dx[op.channels.range()].iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy);
    }
    Ok(())
}
