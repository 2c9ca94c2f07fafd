//! Dropout on the CPU.

use rayon::prelude::*;

use super::Dropout;
use crate::Result;
use crate::ops::mask::{Masks, name_key};
use crate::ops::{HostBackward, HostForward, elementwise};
use crate::tensor::Map;

/// to (+)= from · mask, image by image, each of `map`; `samples` are the numbers of the batch's images.
fn apply(
    masks: &Masks,
    (samples, map): (&[u64], Map),
    from: &[f32],
    to: &mut [f32],
    accumulate: bool,
) {
    let elements = map.elements().max(1);
    let images = from.par_chunks(elements).zip(to.par_chunks_mut(elements)).zip(samples);
    images.for_each(|((from, to), sample)| {
        for (quad, (from, to)) in from.chunks(4).zip(to.chunks_mut(4)).enumerate() {
            for ((from, to), factor) in from.iter().zip(to).zip(masks.factors(*sample, quad)) {
                let value = from * factor;
                *to = if accumulate { *to + value } else { value };
            }
        }
    });
}

/// In training mode over whole batches only.
pub fn forward(op: &Dropout, ctx: &mut HostForward<'_>) -> Result<()> {
    if !ctx.training() {
        elementwise::forward(ctx, |x, _| x);
        return Ok(());
    }
    ctx.require_whole("dropout in training mode")?;
    let masks = Masks::new(op.p, name_key("dropout", ctx.node), &ctx.state);
    let (x, images) = (ctx.input(0), (&ctx.samples[..ctx.images()], ctx.output_map()));
    apply(&masks, images, x, ctx.output(), false);
    Ok(())
}

/// dx = dy · factor where the element was kept, else dy · 0.
pub fn backward(op: &Dropout, ctx: &mut HostBackward<'_>) -> Result<()> {
    let dy = ctx.output_gradient();
    if ctx.state.training == 0 {
        elementwise::backward(ctx, 0, dy, |_, dy| dy);
        return Ok(());
    }
    let masks = Masks::new(op.p, name_key("dropout", ctx.node), &ctx.state);
    let images = (&ctx.samples[..ctx.images()], ctx.output_map());
    let Some((dx, accumulate)) = ctx.input_gradient(0) else { return Ok(()) };
    apply(&masks, images, dy, dx, accumulate);
    Ok(())
}
