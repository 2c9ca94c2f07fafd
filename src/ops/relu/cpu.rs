//! ReLU on the CPU.

use crate::Result;
use crate::ops::{Backward, Forward, elementwise};

pub fn forward(ctx: &mut Forward<'_>) -> Result<()> {
    // Not f32::max, which would drop a NaN.
    elementwise::forward(ctx, |x, _| if x < 0.0 { 0.0 } else { x });
    Ok(())
}

/// dx = dy where y > 0, else 0.
pub fn backward(ctx: &mut Backward<'_>) -> Result<()> {
    let y = ctx.output();
    elementwise::backward(ctx, 0, y, |y, dy| if y <= 0.0 { 0.0 } else { dy });
    Ok(())
}
