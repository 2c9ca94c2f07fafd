//! Average pooling on the CPU.

use super::AvgPool;
use crate::Result;
use crate::ops::averaging::{self, PoolAxis};
use crate::ops::{HostBackward, HostForward};
use crate::tensor::{Map, Span};

fn axes(pool: &AvgPool, input: Map, output: Map) -> [PoolAxis; 2] {
    let axis = |axis: usize, inputs: usize, outputs: usize| {
        PoolAxis::new(inputs, outputs, |output| {
            let start = output * pool.stride[axis];
            let end = (start + pool.kernel[axis]).saturating_sub(pool.padding[axis]).min(inputs);
            let span = Span::new(start.saturating_sub(pool.padding[axis]), end);
            (span, if pool.count_include_pad { pool.kernel[axis] } else { span.len() })
        })
    };
    [axis(0, input.height, output.height), axis(1, input.width, output.width)]
}

pub fn forward(pool: &AvgPool, ctx: &mut HostForward<'_>) -> Result<()> {
    let [rows, columns] = axes(pool, ctx.input_map(0), ctx.output_map());
    averaging::forward(&rows, &columns, ctx);
    Ok(())
}

pub fn backward(pool: &AvgPool, ctx: &mut HostBackward<'_>) -> Result<()> {
    let [rows, columns] = axes(pool, ctx.input_map(0), ctx.output_map());
    averaging::backward(&rows, &columns, ctx);
    Ok(())
}
