//! The gated sum by `kernels/pointwise/product.cu`.

use super::GatedSum;
use crate::Result;
use crate::ops::{Gradient, KernelBackward, KernelForward, product};

pub fn forward(op: &GatedSum, ctx: &KernelForward<'_>) -> Result<()> {
    let places = op.all_places(ctx.node, ctx.inputs, ctx.output_map())?;
    let terms: Vec<_> = ctx.inputs[1..]
        .iter()
        .zip(places)
        .map(|(context, [gate, place])| [(*context, place), (ctx.inputs[0], gate)])
        .collect();
    product::cuda::forward(ctx, &terms)
}

/// A launch or two for each gate and each context.
pub fn backward(op: &GatedSum, ctx: &KernelBackward<'_>) -> Result<()> {
    let places = op.all_places(ctx.node, ctx.inputs, ctx.output_map())?;
    for (context, [gate, place]) in places.into_iter().enumerate() {
        if let Some(to) = ctx.input_gradients[0] {
            // The first launch has cleared the channels that aren't gates.
            let to = Gradient { accumulate: to.accumulate || context > 0, ..to };
            product::cuda::gradient(ctx, (ctx.inputs[context + 1], place), (to, gate))?;
        }
        if let Some(to) = ctx.input_gradients[context + 1] {
            product::cuda::gradient(ctx, (ctx.inputs[0], gate), (to, place))?;
        }
    }
    Ok(())
}
