//! Adaptive average pooling on the CPU.

use super::AdaptiveAvgPool;
use crate::Result;
use crate::ops::averaging::{self, PoolAxis};
use crate::ops::{HostBackward, HostForward};
use crate::tensor::Map;

fn axes(input: Map, output: Map) -> [PoolAxis; 2] {
    let axis = |inputs: usize, outputs: usize| {
        PoolAxis::new(inputs, outputs, |output| {
            let span = AdaptiveAvgPool::span(output, inputs, outputs);
            (span, span.len())
        })
    };
    [axis(input.height, output.height), axis(input.width, output.width)]
}

pub fn forward(ctx: &mut HostForward<'_>) -> Result<()> {
    let [rows, columns] = axes(ctx.input_map(0), ctx.output_map());
    averaging::forward(&rows, &columns, ctx);
    Ok(())
}

pub fn backward(ctx: &mut HostBackward<'_>) -> Result<()> {
    let [rows, columns] = axes(ctx.input_map(0), ctx.output_map());
    averaging::backward(&rows, &columns, ctx);
    Ok(())
}
