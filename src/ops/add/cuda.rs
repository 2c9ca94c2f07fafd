//! Arguments and grids of `kernels/pointwise/add.cu`.

use super::Add;
use crate::Result;
use crate::device::args::{AddBackwardArgs, AddForwardArgs};
use crate::ops::{KernelBackward, KernelForward, mask, place};

pub fn forward(op: &Add, ctx: &KernelForward<'_>) -> Result<()> {
    let args = AddForwardArgs {
        a: ctx.inputs[0].address,
        b: ctx.inputs[1].address,
        y: ctx.output.address,
        samples: ctx.samples_address,
        state: ctx.state_address,
        name: mask::name_key("add", ctx.node),
        elements: ctx.output_map().elements() as u32,
        threshold: mask::threshold(op.depth),
        factor: mask::factor(op.depth),
    };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("add_forward_f32", place::quads(ctx.output), &args) }
}

/// One launch an input, so that the two may be one value.
pub fn backward(op: &Add, ctx: &KernelBackward<'_>) -> Result<()> {
    for (index, dx) in ctx.input_gradients.iter().enumerate() {
        let Some(dx) = dx else { continue };
        // Only b may be dropped.
        let p = if index == 1 { op.depth } else { 0.0 };
        let args = AddBackwardArgs {
            dy: ctx.output_gradient.address,
            dx: dx.tensor.address,
            samples: ctx.samples_address,
            state: ctx.state_address,
            name: mask::name_key("add", ctx.node),
            elements: dx.tensor.map().elements() as u32,
            threshold: mask::threshold(p),
            factor: mask::factor(p),
            accumulate: dx.accumulate.into(),
        };
        // SAFETY: the arguments are views of `ctx`.
        unsafe { ctx.launch("add_backward_f32", place::quads(dx.tensor), &args) }?;
    }
    Ok(())
}
