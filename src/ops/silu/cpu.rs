//! SiLU on the CPU.

use crate::Result;
use crate::ops::{Backward, Forward, elementwise};

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

pub fn forward(ctx: &mut Forward<'_>) -> Result<()> {
    elementwise::forward(ctx, |x, _| x * sigmoid(x));
    Ok(())
}

/// dx = dy · σ(x) · (1 + x · (1 − σ(x))).
pub fn backward(ctx: &mut Backward<'_>) -> Result<()> {
    let x = ctx.input(0);
    elementwise::backward(ctx, 0, x, |x, dy| {
        let s = sigmoid(x);
        dy * (s * (1.0 + x * (1.0 - s)))
    });
    Ok(())
}
