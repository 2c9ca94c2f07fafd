//! Arguments and grids of `kernels/pointwise/constant.cu`.

use crate::Result;
use crate::device::args::ConstantArgs;
use crate::ops::{KernelBackward, KernelForward, place};

const KERNEL: &str = "constant_copy_f32";

pub fn forward(ctx: &KernelForward<'_>) -> Result<()> {
    let args = ConstantArgs {
        from: ctx.params[0].address,
        to: ctx.output.address,
        elements: ctx.output_map().elements() as u32,
        accumulate: 0,
    };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch(KERNEL, place::quads(ctx.output), &args) }
}

pub fn backward(ctx: &KernelBackward<'_>) -> Result<()> {
    let Some(gradient) = ctx.param_gradients[0] else { return Ok(()) };
    let dy = ctx.output_gradient;
    let args = ConstantArgs {
        from: dy.address,
        to: gradient.tensor.address,
        elements: dy.map().elements() as u32,
        accumulate: gradient.accumulate.into(),
    };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch(KERNEL, place::quads(dy), &args) }
}
