//! The gated sum on the CPU.

use super::GatedSum;
use crate::ops::gemm::SendPtr;
use crate::ops::product::{Factor, Place, Products, gradient, start_from_zero};
use crate::ops::wide::for_each_piece;
use crate::ops::{Backward, Forward};
use crate::tensor::Map;
use crate::{Error, Result};

/// Where gate and context of each term lie.
fn places(op: &GatedSum, node: &str, maps: &[Map], output: Map) -> Result<Vec<[Place; 2]>> {
    // The tape has checked shapes, so that nobody sees the error.
    let of = |(context, map): (usize, &Map)| op.places(context, maps[0], *map, output);
    let places: Option<Vec<_>> = maps[1..].iter().enumerate().map(of).collect();
    places.ok_or_else(|| Error::shape(node, "contexts that don't fit"))
}

pub fn forward(op: &GatedSum, ctx: &mut Forward<'_>) -> Result<()> {
    let maps: Vec<Map> = ctx.inputs.iter().map(|input| input.map()).collect();
    let (output, region) = (ctx.output_map(), ctx.region);
    let terms: Vec<[Factor<'_>; 2]> = places(op, ctx.node, &maps, output)?
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
pub fn backward(op: &GatedSum, ctx: &mut Backward<'_>) -> Result<()> {
    let maps: Vec<Map> = ctx.inputs.iter().map(|input| input.map()).collect();
    let output = ctx.output_map();
    let (images, dy) = (ctx.images(), ctx.output_gradient());
    let places = places(op, ctx.node, &maps, output)?;
    if let Some((to, mut accumulate)) = ctx.input_gradient(0) {
        start_from_zero(to, images * maps[0].elements(), &mut accumulate);
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
