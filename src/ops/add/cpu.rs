//! Addition on the CPU.

use super::Add;
use crate::Result;
use crate::ops::mask::{Masks, name_key};
use crate::ops::{HostBackward, HostForward, RunState, elementwise};

/// What each image's b is multiplied by; `None` where nothing is drawn.
fn factors(op: &Add, node: &str, state: &RunState, samples: &[u64]) -> Option<Vec<f32>> {
    if state.training == 0 || op.depth == 0.0 {
        return None;
    }
    let masks = Masks::new(op.depth, name_key("add", node), state);
    let of_sample = |sample: &u64| masks.factors(*sample, 0)[0];
    Some(samples[..state.images as usize].iter().map(of_sample).collect())
}

/// With stochastic depth in training mode over whole batches only.
pub fn forward(op: &Add, ctx: &mut HostForward<'_>) -> Result<()> {
    let Some(factors) = factors(op, ctx.node, &ctx.state, ctx.samples) else {
        elementwise::forward(ctx, |a, b| a + b);
        return Ok(());
    };
    ctx.require_whole("add with stochastic depth in training mode")?;
    let (a, b, elements) = (ctx.input(0), ctx.input(1), ctx.output_map().elements());
    let (y, parallel) = (ctx.output(), ctx.parallel);
    for (image, factor) in factors.into_iter().enumerate() {
        let range = image * elements..(image + 1) * elements;
        let (a, b, y) = (&a[range.clone()], &b[range.clone()], &mut y[range]);
        elementwise::combine(parallel, a, b, y, false, |a, b| a + b * factor);
    }
    Ok(())
}

/// da = dy, db = dy, with stochastic depth dy · m.
pub fn backward(op: &Add, ctx: &mut HostBackward<'_>) -> Result<()> {
    let dy = ctx.output_gradient();
    elementwise::backward(ctx, 0, dy, |_, dy| dy);
    let Some(factors) = factors(op, ctx.node, &ctx.state, ctx.samples) else {
        elementwise::backward(ctx, 1, dy, |_, dy| dy);
        return Ok(());
    };
    let elements = ctx.output_map().elements();
    let Some((db, accumulate)) = ctx.input_gradient(1) else { return Ok(()) };
    for (image, factor) in factors.into_iter().enumerate() {
        let range = image * elements..(image + 1) * elements;
        let (dy, db) = (&dy[range.clone()], &mut db[range]);
        elementwise::combine(true, dy, dy, db, accumulate, |dy, _| dy * factor);
    }
    Ok(())
}
