//! Arguments and grids of `kernels/add.cu`.

use crate::Result;
use crate::kernel_args;
use crate::ops::{Backward, Forward, place};

kernel_args! {
    pub struct AddForwardArgs {
        pub a: u64,
        pub b: u64,
        pub y: u64,
        pub state: u64,
        pub elements: u32,
        pub unused: u32,
    }
    pub struct AddBackwardArgs {
        pub dy: u64,
        pub dx: u64,
        pub state: u64,
        pub elements: u32,
        pub accumulate: u32,
    }
}

pub fn forward(ctx: &mut Forward<'_>) -> Result<()> {
    let kernel = "add_forward_f32";
    ctx.require_whole(kernel)?;
    let args = AddForwardArgs {
        a: ctx.inputs[0].address,
        b: ctx.inputs[1].address,
        y: ctx.output.address,
        state: ctx.state_address,
        elements: ctx.output_map().elements() as u32,
        unused: 0,
    };
    ctx.launch(kernel, place::quads(ctx.output), place::BLOCK, &args)
}

/// One launch an input, so that the two may be one value.
pub fn backward(ctx: &mut Backward<'_>) -> Result<()> {
    for dx in ctx.input_gradients.iter().flatten() {
        let args = AddBackwardArgs {
            dy: ctx.output_gradient.address,
            dx: dx.tensor.address,
            state: ctx.state_address,
            elements: dx.tensor.map().elements() as u32,
            accumulate: dx.accumulate.into(),
        };
        ctx.launch("add_backward_f32", place::quads(dx.tensor), place::BLOCK, &args)?;
    }
    Ok(())
}
