//! The gated sum on the CPU.

use super::GatedSum;
use crate::Result;
use crate::cpu::gemm::SendPtr;
use crate::cpu::wide::for_each_piece;
use crate::ops::product::{Factor, Products, gradient, start_from_zero};
use crate::ops::{HostBackward, HostForward};

pub fn forward(op: &GatedSum, ctx: &mut HostForward<'_>) -> Result<()> {
    let (output, region) = (ctx.output_map(), ctx.region);
    let terms: Vec<[Factor<'_>; 2]> = op
        .all_places(ctx.node, ctx.inputs, output)?
        .into_iter()
        .enumerate()
        .map(|(context, [gate, place])| {
            let gate = Factor { values: ctx.input(0), place: gate };
            [Factor { values: ctx.input(context + 1), place }, gate]
        })
        .collect();
    let y = SendPtr(ctx.output().as_mut_ptr());
    let work = Products { output, region, terms: &terms, y };
    for_each_piece(ctx.parallel, region.row_count(), &work);
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
