//! Arguments and grids of `kernels/pointwise/gather.cu`.

use super::Gather;
use crate::Result;
use crate::device::args::{GatherBackwardArgs, GatherForwardArgs};
use crate::ops::{KernelBackward, KernelForward, place};
use crate::tensor::{Map, Tensor};

/// Number and width of the rows, and whether each image has its own.
fn rows(op: &Gather, inputs: &[Tensor]) -> (u32, u32, u32) {
    let maps: Vec<Map> = inputs.iter().map(|input| input.map()).collect();
    let (rows, width) = op.rows(&maps);
    (rows as u32, width as u32, (*op == Gather::Pixels).into())
}

pub fn forward(op: &Gather, ctx: &KernelForward<'_>) -> Result<()> {
    let (rows, width, own_rows) = rows(op, ctx.inputs);
    let x = if own_rows == 1 { ctx.inputs[0] } else { ctx.params[0] };
    let args = GatherForwardArgs {
        x: x.address,
        indices: ctx.inputs[op.indices()].address,
        y: ctx.output.address,
        state: ctx.state_address,
        rows,
        width,
        pixels: ctx.output_map().pixels() as u32,
        own_rows,
    };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("gather_forward_f32", place::channel_quads(ctx.output), &args) }
}

pub fn backward(op: &Gather, ctx: &KernelBackward<'_>) -> Result<()> {
    let (rows, width, own_rows) = rows(op, ctx.inputs);
    let gradients = if own_rows == 1 { ctx.input_gradients } else { ctx.param_gradients };
    let Some(dx) = gradients[0] else { return Ok(()) };
    let args = GatherBackwardArgs {
        dy: ctx.output_gradient.address,
        indices: ctx.inputs[op.indices()].address,
        dx: dx.tensor.address,
        state: ctx.state_address,
        rows,
        width,
        pixels: ctx.output_map().pixels() as u32,
        own_rows,
        accumulate: dx.accumulate.into(),
    };
    let images = if own_rows == 1 { dx.tensor.images } else { 1 };
    let grid = place::channel_quad_grid(images, rows as usize, width as usize);
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("gather_backward_f32", grid, &args) }
}
