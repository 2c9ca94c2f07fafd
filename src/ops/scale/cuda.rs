//! Arguments and grids of `kernels/pointwise/scale.cu`.

use crate::Result;
use crate::device::args::{ScaleBackwardArgs, ScaleForwardArgs, ScaleTotalArgs};
use crate::ops::{KernelBackward, KernelForward, place};

/// Blocks that sum, each with a partial sum (f64).
const PARTS: usize = 64;

/// The partial sums.
pub const WORKSPACE_BYTES: usize = 8 * PARTS;

pub fn forward(ctx: &KernelForward<'_>) -> Result<()> {
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
        // SAFETY: the arguments are views of `ctx`.
        unsafe { ctx.launch("scale_forward_f32_armed", place::grid(y.images, map), &args) }
    } else {
        // SAFETY: as above.
        unsafe { ctx.launch("scale_forward_f32", place::quads(y), &args) }
    }
}

pub fn backward(ctx: &KernelBackward<'_>) -> Result<()> {
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
        let partial = ctx.workspace.address;
        let args = ScaleBackwardArgs { result: partial, ..args };
        let grid = [PARTS as u32, 1, 1];
        // SAFETY: the arguments are views of `ctx`.
        unsafe { ctx.launch("scale_factor_partials_f64", (grid, place::BLOCK), &args) }?;
        let (ds, accumulate) = (ds.tensor.address, ds.accumulate.into());
        let total = ScaleTotalArgs { partial, ds, accumulate };
        // SAFETY: as above.
        unsafe { ctx.launch("scale_factor_gradient_f32", ([1, 1, 1], [32, 1, 1]), &total) }?;
    }
    if let Some(dx) = ctx.input_gradients[0] {
        let (result, accumulate) = (dx.tensor.address, dx.accumulate.into());
        let args = ScaleBackwardArgs { result, accumulate, ..args };
        // SAFETY: as above.
        unsafe { ctx.launch("scale_backward_f32", place::quads(dx.tensor), &args) }?;
    }
    Ok(())
}
