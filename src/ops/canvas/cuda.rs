//! Arguments and grids of `kernels/pointwise/canvas.cu`.

use crate::Result;
use crate::device::args::CanvasArgs;
use crate::ops::{KernelBackward, KernelForward, place};
use crate::tensor::Tensor;

const KERNEL: &str = "canvas_copy_f32";

fn args(from: Tensor, to: Tensor, state: u64, accumulate: bool) -> CanvasArgs {
    let size = |tensor: Tensor| [tensor.map().height as u32, tensor.map().width as u32];
    CanvasArgs {
        from: from.address,
        to: to.address,
        state,
        from_size: size(from),
        to_size: size(to),
        channels: to.map().channels as u32,
        accumulate: accumulate.into(),
    }
}

pub fn forward(ctx: &KernelForward<'_>) -> Result<()> {
    let args = args(ctx.inputs[0], ctx.output, ctx.state_address, false);
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch(KERNEL, place::channel_quads(ctx.output), &args) }
}

pub fn backward(ctx: &KernelBackward<'_>) -> Result<()> {
    let Some(dx) = ctx.input_gradients[0] else { return Ok(()) };
    let args = args(ctx.output_gradient, dx.tensor, ctx.state_address, dx.accumulate);
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch(KERNEL, place::channel_quads(dx.tensor), &args) }
}
