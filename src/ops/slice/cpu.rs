//! Ranges of channels on the CPU.

use super::Slice;
use crate::Result;
use crate::cpu::gemm::{SendPtr, for_each_task};
use crate::ops::product::start_from_zero;
use crate::ops::{HostBackward, HostForward};

pub fn forward(op: &Slice, ctx: &mut HostForward<'_>) -> Result<()> {
    let (x, from, to, region) = (ctx.input(0), ctx.input_map(0), ctx.output_map(), ctx.region);
    let parallel = ctx.parallel;
    let y = SendPtr(ctx.output().as_mut_ptr());
    for_each_task(parallel, region.row_count(), |index| {
        let (image, row) = region.row(index);
        let (channel, count) = (region.channels.start, region.channels.len());
        for column in region.columns.range() {
            let at = image * from.elements() + from.index(row, column, op.channels.start + channel);
            let y_at = image * to.elements() + to.index(row, column, channel);
            // SAFETY: this pixel's part of the output.
            let y = unsafe { std::slice::from_raw_parts_mut(y.get().add(y_at), count) };
            y.copy_from_slice(&x[at..at + count]);
        }
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
