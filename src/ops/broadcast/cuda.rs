//! Arguments and grids of `kernels/pointwise/broadcast.cu`.

use super::{Broadcast, BroadcastBy};
use crate::Result;
use crate::device::args::BroadcastArgs;
use crate::ops::{KernelBackward, KernelForward, place};
use crate::tensor::Map;

/// Arguments for an x and y of `map`; the addresses are the caller's to set.
fn args(op: &Broadcast, map: Map, state: u64) -> BroadcastArgs {
    BroadcastArgs {
        x: 0,
        y: 0,
        table: 0,
        state,
        size: [map.height, map.width, map.channels].map(|size| size as u32),
        table_size: [op.table.height, op.table.width, op.table.channels].map(|size| size as u32),
        each: op.each.map(|each| each as u32),
        multiplies: u32::from(op.by == BroadcastBy::Multiply),
        accumulate: 0,
    }
}

pub fn forward(op: &Broadcast, ctx: &KernelForward<'_>) -> Result<()> {
    let (map, y) = (ctx.output_map(), ctx.output);
    let args = BroadcastArgs {
        x: ctx.inputs[0].address,
        y: y.address,
        table: ctx.params[0].address,
        ..args(op, map, ctx.state_address)
    };
    // SAFETY: the arguments are views of `ctx`; the table fits the map, as `output` has seen.
    unsafe { ctx.launch("broadcast_forward_f32", place::grid(y.images, map), &args) }
}

pub fn backward(op: &Broadcast, ctx: &KernelBackward<'_>) -> Result<()> {
    let dy = ctx.output_gradient;
    let map = dy.map();
    let of_dy = BroadcastArgs { x: dy.address, ..args(op, map, ctx.state_address) };
    if let Some(dx) = ctx.input_gradients[0] {
        let table = if op.by == BroadcastBy::Multiply { ctx.params[0].address } else { 0 };
        let args = BroadcastArgs {
            y: dx.tensor.address,
            table,
            accumulate: dx.accumulate.into(),
            ..of_dy
        };
        let grid = place::grid(dy.images, map);
        // SAFETY: as in `forward`.
        unsafe { ctx.launch("broadcast_backward_f32", grid, &args) }?;
    }
    let Some(dt) = ctx.param_gradients[0] else { return Ok(()) };
    let x = if op.by == BroadcastBy::Multiply { ctx.inputs[0].address } else { 0 };
    let args =
        BroadcastArgs { y: x, table: dt.tensor.address, accumulate: dt.accumulate.into(), ..of_dy };
    let grid = place::grid(1, op.table);
    // SAFETY: as in `forward`.
    unsafe { ctx.launch("broadcast_table_gradient_f32", grid, &args) }
}
