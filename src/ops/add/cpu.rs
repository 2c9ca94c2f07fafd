//! Addition on the CPU.

use crate::Result;
use crate::ops::{Backward, Forward, elementwise};

pub fn forward(ctx: &mut Forward<'_>) -> Result<()> {
    elementwise::forward(ctx, |a, b| a + b);
    Ok(())
}

/// da = db = dy.
pub fn backward(ctx: &mut Backward<'_>) -> Result<()> {
    let dy = ctx.output_gradient();
    for index in 0..2 {
        elementwise::backward(ctx, index, dy, |_, dy| dy);
    }
    Ok(())
}
