//! Rows by their number on the CPU.

use super::Gather;
use crate::ops::product::start_from_zero;
use crate::ops::{HostBackward, HostForward, pixels};
use crate::tensor::Map;
use crate::{Error, Result};

/// The first index that is no row, if any.
fn check(indices: &[u32], rows: usize, node: &str) -> Result<()> {
    match indices.iter().find(|index| **index as usize >= rows) {
        None => Ok(()),
        Some(index) => {
            Err(Error::shape(node, format!("row {index} is asked for, but there are {rows}")))
        }
    }
}

pub fn forward(op: &Gather, ctx: &mut HostForward<'_>) -> Result<()> {
    let (to, region, y) = (ctx.output_map(), ctx.region, ctx.output());
    let maps: Vec<Map> = ctx.inputs.iter().map(|input| input.map()).collect();
    let (rows, width) = op.rows(&maps);
    let (x, of_image) = match op {
        Gather::Table { .. } => (ctx.param(0), 0),
        Gather::Pixels => (ctx.input(0), maps[0].elements()),
    };
    let count = to.pixels();
    let indices = ctx.input_u32(op.indices());
    check(&indices[region.images.start * count..region.images.end * count], rows, ctx.node)?;
    pixels::forward(ctx, y, &|image: usize, row: usize, column: usize, y: &mut [f32]| {
        let index = indices[image * count + row * to.width + column] as usize;
        let from = image * of_image + index * width + region.channels.start;
        y.copy_from_slice(&x[from..from + y.len()]);
    });
    Ok(())
}

/// dx\[row\] = Σ dy\[p\] over the p that asked for it.
pub fn backward(op: &Gather, ctx: &mut HostBackward<'_>) -> Result<()> {
    let maps: Vec<Map> = ctx.inputs.iter().map(|input| input.map()).collect();
    let (rows, width) = op.rows(&maps);
    let (pixels, images) = (ctx.output_map().pixels(), ctx.images());
    let indices = &ctx.input_u32(op.indices())[..images * pixels];
    check(indices, rows, ctx.node)?;
    let dy = ctx.output_gradient();
    let (gradient, of_image, elements) = match op {
        Gather::Table { .. } => (ctx.param_gradient(0), 0, rows * width),
        Gather::Pixels => (ctx.input_gradient(0), maps[0].elements(), images * maps[0].elements()),
    };
    let Some((dx, mut accumulate)) = gradient else { return Ok(()) };
    start_from_zero(dx, elements, &mut accumulate);
    for (p, (index, dy)) in indices.iter().zip(dy.chunks_exact(width)).enumerate() {
        let at = p / pixels * of_image + *index as usize * width;
        dx[at..at + width].iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy);
    }
    Ok(())
}
