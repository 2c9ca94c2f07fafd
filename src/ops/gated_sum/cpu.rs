//! The gated sum on the CPU.

use super::GatedSum;
use crate::Result;
use crate::ops::product::{self, Factor, gradient, start_from_zero};
use crate::ops::{HostBackward, HostForward};

pub fn forward(op: &GatedSum, ctx: &mut HostForward<'_>) -> Result<()> {
    let terms: Vec<[Factor<'_>; 2]> = op
        .all_places(ctx.node, ctx.inputs, ctx.output_map())?
        .into_iter()
        .enumerate()
        .map(|(context, [gate, place])| {
            let gate = Factor { values: ctx.input(0), place: gate };
            [Factor { values: ctx.input(context + 1), place }, gate]
        })
        .collect();
    product::forward(ctx, &terms);
    Ok(())
}

/// d(context) = dy · gate, summed over pixels for the global one; d(gate) = Σ_channels dy · context; the
/// other channels of the gates' value get nothing.
pub fn backward(op: &GatedSum, ctx: &mut HostBackward<'_>) -> Result<()> {
    let output = ctx.output_map();
    let (images, dy) = (ctx.images(), ctx.output_gradient());
    let places = op.all_places(ctx.node, ctx.inputs, output)?;
    if let Some((to, mut accumulate)) = ctx.input_gradient(0) {
        start_from_zero(to, images * ctx.input_map(0).elements(), &mut accumulate);
        for (context, [gate, place]) in places.iter().enumerate() {
            let other = Factor { values: ctx.input(context + 1), place: *place };
            gradient(images, output, dy, other, (&mut *to, *gate), accumulate);
        }
    }
    for (context, [gate, place]) in places.iter().enumerate() {
        let other = Factor { values: ctx.input(0), place: *gate };
        if let Some((to, accumulate)) = ctx.input_gradient(context + 1) {
            gradient(images, output, dy, other, (to, *place), accumulate);
        }
    }
    Ok(())
}
