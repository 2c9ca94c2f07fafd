//! Arguments and grids of `kernels/constant.cu`.

use crate::Result;
use crate::device::args::ConstantArgs;
use crate::ops::{Backward, Forward, place};

const KERNEL: &str = "constant_copy_f32";

pub fn forward(ctx: &mut Forward<'_>) -> Result<()> {
    ctx.require_whole(KERNEL)?;
    let args = ConstantArgs {
        from: ctx.params[0].address,
        to: ctx.output.address,
        elements: ctx.output_map().elements() as u32,
        accumulate: 0,
    };
    ctx.launch(KERNEL, place::quads(ctx.output), place::BLOCK, &args)
}

pub fn backward(ctx: &mut Backward<'_>) -> Result<()> {
    let Some(gradient) = ctx.param_gradients[0] else { return Ok(()) };
    let dy = ctx.output_gradient;
    let args = ConstantArgs {
        from: dy.address,
        to: gradient.tensor.address,
        elements: dy.map().elements() as u32,
        accumulate: gradient.accumulate.into(),
    };
    ctx.launch(KERNEL, place::quads(dy), place::BLOCK, &args)
}
