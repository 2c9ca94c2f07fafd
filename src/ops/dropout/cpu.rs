//! Dropout on the CPU.

use super::Dropout;
use crate::Result;
use crate::cpu::gemm::{SendPtr, for_each_task};
use crate::ops::mask::{Masks, name_key};
use crate::ops::{HostBackward, HostForward, elementwise};

/// to (+)= from · mask, one image.
fn apply(masks: &Masks, sample: u64, from: &[f32], to: &mut [f32], accumulate: bool) {
    for (quad, (from, to)) in from.chunks(4).zip(to.chunks_mut(4)).enumerate() {
        for ((from, to), factor) in from.iter().zip(to).zip(masks.factors(sample, quad)) {
            let value = from * factor;
            *to = if accumulate { *to + value } else { value };
        }
    }
}

/// In training mode over whole batches only.
pub fn forward(op: &Dropout, ctx: &mut HostForward<'_>) -> Result<()> {
    if !ctx.training() {
        elementwise::forward(ctx, |x, _| x);
        return Ok(());
    }
    ctx.require_whole("dropout in training mode")?;
    let masks = Masks::new(op.p, name_key("dropout", ctx.node), &ctx.state);
    let (x, samples, images) = (ctx.input(0), ctx.samples, ctx.images());
    let elements = ctx.output_map().elements();
    let parallel = ctx.parallel;
    let y = SendPtr(ctx.output().as_mut_ptr());
    for_each_task(parallel, images, |image| {
        let start = image * elements;
        // SAFETY: images are disjoint parts of the output.
        let y = unsafe { std::slice::from_raw_parts_mut(y.get().add(start), elements) };
        apply(&masks, samples[image], &x[start..start + elements], y, false);
    });
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
    let (samples, images) = (ctx.samples, ctx.images());
    let elements = ctx.output_map().elements();
    let Some((dx, accumulate)) = ctx.input_gradient(0) else { return Ok(()) };
    let dx = SendPtr(dx.as_mut_ptr());
    for_each_task(true, images, |image| {
        let start = image * elements;
        // SAFETY: images are disjoint parts of the gradient.
        let dx = unsafe { std::slice::from_raw_parts_mut(dx.get().add(start), elements) };
        apply(&masks, samples[image], &dy[start..start + elements], dx, accumulate);
    });
    Ok(())
}
