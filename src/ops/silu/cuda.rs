//! Arguments and grids of `kernels/silu.cu`.

use crate::Result;
use crate::kernel_args;
use crate::ops::{Backward, Forward, place};

kernel_args! {
    pub struct SiluForwardArgs {
        pub x: u64,
        pub y: u64,
        pub state: u64,
        pub elements: u32,
        pub unused: u32,
    }
    pub struct SiluBackwardArgs {
        pub x: u64,
        pub dy: u64,
        pub dx: u64,
        pub state: u64,
        pub elements: u32,
        pub accumulate: u32,
    }
}

pub fn forward(ctx: &mut Forward<'_>) -> Result<()> {
    let kernel = "silu_forward_f32";
    ctx.require_whole(kernel)?;
    let args = SiluForwardArgs {
        x: ctx.inputs[0].address,
        y: ctx.output.address,
        state: ctx.state_address,
        elements: ctx.output_map().elements() as u32,
        unused: 0,
    };
    ctx.launch(kernel, place::quads(ctx.output), place::BLOCK, &args)
}

pub fn backward(ctx: &mut Backward<'_>) -> Result<()> {
    let Some(dx) = ctx.input_gradients[0] else { return Ok(()) };
    let args = SiluBackwardArgs {
        x: ctx.inputs[0].address,
        dy: ctx.output_gradient.address,
        dx: dx.tensor.address,
        state: ctx.state_address,
        elements: dx.tensor.map().elements() as u32,
        accumulate: dx.accumulate.into(),
    };
    ctx.launch("silu_backward_f32", place::quads(dx.tensor), place::BLOCK, &args)
}
