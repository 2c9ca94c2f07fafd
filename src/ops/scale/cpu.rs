//! Multiplication by exp(s) on the CPU.

use super::factor;
use crate::Result;
use crate::ops::{HostBackward, HostForward, elementwise};

pub fn forward(ctx: &mut HostForward<'_>) -> Result<()> {
    let factor = factor(ctx.param(0)[0]);
    let y = elementwise::forward(ctx, |x, _| x * factor);
    if let Some(faults) = ctx.faults {
        let (map, region) = (ctx.output_map(), ctx.region);
        faults.table.apply(y, map, region);
    }
    Ok(())
}

/// dx = dy · exp(s), ds = Σ dy·y.
pub fn backward(ctx: &mut HostBackward<'_>) -> Result<()> {
    let factor = factor(ctx.param(0)[0]);
    let (y, count) = (ctx.output(), ctx.images() * ctx.output_map().elements());
    let terms = ctx.output_gradient().iter().zip(y).take(count);
    let sum: f64 = terms.map(|(dy, y)| f64::from(*dy) * f64::from(*y)).sum();
    if let Some((ds, accumulate)) = ctx.param_gradient(0) {
        ds[0] = sum as f32 + if accumulate { ds[0] } else { 0.0 };
    }
    elementwise::backward(ctx, 0, y, |_, dy| dy * factor);
    Ok(())
}
