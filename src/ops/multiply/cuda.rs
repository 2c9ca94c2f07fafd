//! Multiplication by `kernels/pointwise/product.cu`.

use super::{Multiply, misfit};
use crate::Result;
use crate::ops::{KernelBackward, KernelForward, product};

pub fn forward(op: &Multiply, ctx: &KernelForward<'_>) -> Result<()> {
    let (a, b) = (ctx.input_map(0), ctx.input_map(1));
    let (_, [a, b]) = op.places(a, b).ok_or_else(|| misfit(ctx.node))?;
    product::cuda::forward(ctx, &[[(ctx.inputs[0], a), (ctx.inputs[1], b)]])
}

/// One launch a factor, so that the two may be one value.
pub fn backward(op: &Multiply, ctx: &KernelBackward<'_>) -> Result<()> {
    let (a, b) = (ctx.input_map(0), ctx.input_map(1));
    let (_, places) = op.places(a, b).ok_or_else(|| misfit(ctx.node))?;
    for index in 0..2 {
        let Some(to) = ctx.input_gradients[index] else { continue };
        let other = (ctx.inputs[1 - index], places[1 - index]);
        product::cuda::gradient(ctx, other, (to, places[index]))?;
    }
    Ok(())
}
