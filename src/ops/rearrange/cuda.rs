//! Arguments and grids of `kernels/pointwise/rearrange.cu`.

use super::{MOST_STEPS, MoveStep, Piece, Rearrange, cpu};
use crate::Result;
use crate::device::LaunchConfig;
use crate::device::args::{RearrangeArgs, RearrangeFillArgs, RearrangeStep};
use crate::ops::{KernelBackward, KernelForward, place};
use crate::tensor::{Map, Tensor};

/// The arguments of a piece whose first `kept.len()` steps are threads' own; the others are repeats.
fn piece_args(
    piece: &Piece,
    kept: &[MoveStep],
    repeated: &[MoveStep],
    (read, written): (Tensor, Tensor),
    state: u64,
) -> RearrangeArgs {
    let none = RearrangeStep { size: 1, from: 0, to: 0 };
    let mut steps = [none; MOST_STEPS];
    for (at, step) in kept.iter().chain(repeated).enumerate() {
        steps[at] =
            RearrangeStep { size: step.size as u32, from: step.from as i32, to: step.to as u32 };
    }
    let image =
        |tensor: Tensor| if tensor.spec.shared { 0 } else { tensor.map().elements() as u32 };
    RearrangeArgs {
        x: read.address,
        y: written.address,
        state,
        from: piece.from as u32,
        to: piece.to as u32,
        x_image: image(read),
        y_image: image(written),
        kept: kept.len() as u32,
        rank: (kept.len() + repeated.len()) as u32,
        count: kept.iter().map(|step| step.size as u32).product(),
        shared: read.spec.shared.into(),
        steps,
    }
}

/// Blocks for `count` threads an image.
fn grid(images: usize, count: u32) -> LaunchConfig {
    place::grid(images, Map::vector(count as usize))
}

pub fn forward(op: &Rearrange, ctx: &KernelForward<'_>) -> Result<()> {
    if !op.covers {
        let args = RearrangeFillArgs {
            y: ctx.output.address,
            state: ctx.state_address,
            elements: op.map.elements() as u32,
            value: op.fill,
        };
        // SAFETY: the arguments are views of `ctx`.
        unsafe { ctx.launch("rearrange_fill_f32", place::quads(ctx.output), &args) }?;
    }
    for piece in &op.pieces {
        let views = (ctx.inputs[piece.input], ctx.output);
        let args = piece_args(piece, &piece.steps, &[], views, ctx.state_address);
        // SAFETY: the arguments are views of `ctx`; pieces lie within them.
        unsafe { ctx.launch("rearrange_forward_f32", grid(ctx.output.images, args.count), &args) }?;
    }
    Ok(())
}

/// The gradient is cleared, then each piece adds to it.
pub fn backward(op: &Rearrange, ctx: &KernelBackward<'_>) -> Result<()> {
    for (input, dx) in ctx.input_gradients.iter().enumerate() {
        let Some(dx) = dx else { continue };
        let maps = if dx.tensor.spec.shared { 1 } else { dx.tensor.images };
        if !dx.accumulate {
            let bytes = maps * dx.tensor.map().elements() * size_of::<f32>();
            // SAFETY: the gradient, which this pass alone uses.
            unsafe { ctx.device.zero(dx.tensor.address, bytes) }?;
        }
        for piece in op.pieces.iter().filter(|piece| piece.input == input) {
            let (kept, repeated) = cpu::split(&piece.steps);
            let views = (dx.tensor, ctx.output_gradient);
            let args = piece_args(piece, &kept, &repeated, views, ctx.state_address);
            // SAFETY: the arguments are views of `ctx`; pieces lie within them.
            unsafe { ctx.launch("rearrange_backward_f32", grid(maps, args.count), &args) }?;
        }
    }
    Ok(())
}
