//! Multiplication on the CPU.

use super::{Multiply, misfit};
use crate::Result;
use crate::ops::product::{self, Factor, gradient, start_from_zero};
use crate::ops::{HostBackward, HostForward};

pub fn forward(op: &Multiply, ctx: &mut HostForward<'_>) -> Result<()> {
    let (a, b) = (ctx.input_map(0), ctx.input_map(1));
    let (_, [a, b]) = op.places(a, b).ok_or_else(|| misfit(ctx.node))?;
    let terms =
        [[Factor { values: ctx.input(0), place: a }, Factor { values: ctx.input(1), place: b }]];
    product::forward(ctx, &terms);
    Ok(())
}

/// da = dy · b, db = dy · a, each summed over what it is spread over.
pub fn backward(op: &Multiply, ctx: &mut HostBackward<'_>) -> Result<()> {
    let (a, b) = (ctx.input_map(0), ctx.input_map(1));
    let (output, places) = op.places(a, b).ok_or_else(|| misfit(ctx.node))?;
    let (images, dy) = (ctx.images(), ctx.output_gradient());
    for index in 0..2 {
        let other = Factor { values: ctx.input(1 - index), place: places[1 - index] };
        let place = places[index];
        let Some((to, mut accumulate)) = ctx.input_gradient(index) else { continue };
        if index == 0 && op.a_channels.is_some() {
            start_from_zero(to, images * place.map.elements(), &mut accumulate);
        }
        gradient(images, output, dy, other, (to, place), accumulate);
    }
    Ok(())
}
