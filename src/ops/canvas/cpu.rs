//! Another size of map on the CPU.

use crate::Result;
use crate::ops::{HostBackward, HostForward, pixels};

pub fn forward(ctx: &mut HostForward<'_>) -> Result<()> {
    let (x, from, y) = (ctx.input(0), ctx.input_map(0), ctx.output());
    let channel = ctx.region.channels.start;
    pixels::forward(ctx, y, &|image: usize, row: usize, column: usize, y: &mut [f32]| {
        if row < from.height && column < from.width {
            let at = image * from.elements() + from.index(row, column, channel);
            y.copy_from_slice(&x[at..at + y.len()]);
        } else {
            y.fill(0.0);
        }
    });
    Ok(())
}

/// The same with sizes exchanged: dx is dy where y has it, otherwise 0.
pub fn backward(ctx: &mut HostBackward<'_>) -> Result<()> {
    let (from, to) = (ctx.input_map(0), ctx.output_map());
    let (images, dy) = (ctx.images(), ctx.output_gradient());
    let Some((dx, accumulate)) = ctx.input_gradient(0) else { return Ok(()) };
    let (row_length, shared) =
        (from.width * from.channels, from.width.min(to.width) * from.channels);
    let rows = dx.chunks_exact_mut(row_length).take(images * from.height);
    for (index, dx) in rows.enumerate() {
        let (image, row) = (index / from.height, index % from.height);
        let (inside, outside) = dx.split_at_mut(if row < to.height { shared } else { 0 });
        let at = image * to.elements() + to.index(row, 0, 0);
        if accumulate {
            inside.iter_mut().zip(&dy[at.min(dy.len())..]).for_each(|(dx, dy)| *dx += dy);
        } else {
            outside.fill(0.0);
            if !inside.is_empty() {
                inside.copy_from_slice(&dy[at..at + shared]);
            }
        }
    }
    Ok(())
}
