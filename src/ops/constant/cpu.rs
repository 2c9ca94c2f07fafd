//! A table as a value on the CPU.

use super::Constant;
use crate::Result;
use crate::ops::{Backward, Forward};

pub fn forward(op: &Constant, ctx: &mut Forward<'_>) -> Result<()> {
    let (from, to) = (ctx.param(0), ctx.output());
    ctx.region.for_each_run(op.map, |at| {
        let run = at..at + ctx.region.channels.len();
        to[run.clone()].copy_from_slice(&from[run]);
    });
    Ok(())
}

pub fn backward(ctx: &mut Backward<'_>) -> Result<()> {
    let dy = ctx.output_gradient();
    if let Some((gradient, accumulate)) = ctx.param_gradient(0) {
        for (gradient, dy) in gradient.iter_mut().zip(dy) {
            *gradient = if accumulate { *gradient + dy } else { *dy };
        }
    }
    Ok(())
}
