//! Arguments and grids of `kernels/scale.cu`.

use crate::Result;
use crate::kernel_args;
use crate::ops::{Backward, Forward, place};

kernel_args! {
    pub struct ScaleForwardArgs {
        pub x: u64,
        pub y: u64,
        pub s: u64,
        pub state: u64,
        /// The fault table; 0 where none is armed.
        pub faults: u64,
        pub pixels: u32,
        pub channels: u32,
    }
    /// Arguments of both backward kernels.
    pub struct ScaleBackwardArgs {
        pub y: u64,
        pub dy: u64,
        pub s: u64,
        /// dx, or ds
        pub result: u64,
        pub state: u64,
        pub elements: u32,
        pub accumulate: u32,
    }
}

/// The block of the kernel that sums.
const SUM_BLOCK: [u32; 3] = [512, 1, 1];

pub fn forward(ctx: &mut Forward<'_>) -> Result<()> {
    ctx.require_whole("scale_forward_f32")?;
    let (y, map) = (ctx.output, ctx.output_map());
    let args = ScaleForwardArgs {
        x: ctx.inputs[0].address,
        y: y.address,
        s: ctx.params[0].address,
        state: ctx.state_address,
        faults: ctx.faults.map_or(0, |faults| faults.address),
        pixels: map.pixels() as u32,
        channels: map.channels as u32,
    };
    if ctx.faults.is_some() {
        ctx.launch("scale_forward_f32_armed", place::grid(y.images, map), place::BLOCK, &args)
    } else {
        ctx.launch("scale_forward_f32", place::quads(y), place::BLOCK, &args)
    }
}

pub fn backward(ctx: &mut Backward<'_>) -> Result<()> {
    let args = ScaleBackwardArgs {
        y: ctx.output.address,
        dy: ctx.output_gradient.address,
        s: ctx.params[0].address,
        result: 0,
        state: ctx.state_address,
        elements: ctx.output_map().elements() as u32,
        accumulate: 0,
    };
    if let Some(ds) = ctx.param_gradients[0] {
        let (result, accumulate) = (ds.tensor.address, ds.accumulate.into());
        let args = ScaleBackwardArgs { result, accumulate, ..args };
        ctx.launch("scale_factor_gradient_f32", [1, 1, 1], SUM_BLOCK, &args)?;
    }
    if let Some(dx) = ctx.input_gradients[0] {
        let (result, accumulate) = (dx.tensor.address, dx.accumulate.into());
        let args = ScaleBackwardArgs { result, accumulate, ..args };
        ctx.launch("scale_backward_f32", place::quads(dx.tensor), place::BLOCK, &args)?;
    }
    Ok(())
}
