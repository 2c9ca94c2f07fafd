//! A table as a value on the CPU.

use crate::Result;
use crate::ops::{HostBackward, HostForward};

pub fn forward(ctx: &mut HostForward<'_>) -> Result<()> {
    let (map, to) = (ctx.output_map(), ctx.output());
    let from = ctx.param(0);
    ctx.region.for_each_run(map, |at| {
        let run = at..at + ctx.region.channels.len();
        to[run.clone()].copy_from_slice(&from[run]);
    });
    Ok(())
}

pub fn backward(ctx: &mut HostBackward<'_>) -> Result<()> {
    let dy = ctx.output_gradient();
    if let Some((gradient, accumulate)) = ctx.param_gradient(0) {
        for (gradient, dy) in gradient.iter_mut().zip(dy) {
            *gradient = if accumulate { *gradient + dy } else { *dy };
        }
    }
    Ok(())
}
