//! Arguments of the kernels in `kernels/conv2d/` but for depthwise ones, and the parts that a weight gradient is
//! computed in.

use super::Conv2d;
use crate::Result;
use crate::device::args::{Conv2dArgs, Conv2dTotalArgs, EpilogueArgs};
use crate::ops::{Gradient, KernelBackward, KernelForward};
use crate::tensor::{Map, Tensor};

pub(super) fn pair(values: [usize; 2]) -> [u32; 2] {
    values.map(|value| value as u32)
}

/// Rows and columns.
pub(super) fn size(map: Map) -> [u32; 2] {
    pair([map.height, map.width])
}

/// Arguments without results.
pub(super) fn args(conv: &Conv2d, x: Tensor, w: Tensor, y: Tensor, state: u64) -> Conv2dArgs {
    Conv2dArgs {
        x: x.address,
        w: w.address,
        y: y.address,
        result: 0,
        partial: 0,
        state,
        faults: 0,
        in_size: size(x.map()),
        out_size: size(y.map()),
        in_channels: conv.in_channels as u32,
        out_channels: conv.out_channels as u32,
        kernel: pair(conv.kernel),
        stride: pair(conv.stride),
        padding: pair(conv.padding),
        dilation: pair(conv.dilation),
        groups: conv.groups as u32,
        accumulate: 0,
        splits: 1,
        epilogue: EpilogueArgs::default(),
    }
}

/// What a forward kernel does with finished sums.
pub(super) fn epilogue(conv: &Conv2d, ctx: &KernelForward<'_>) -> EpilogueArgs {
    EpilogueArgs {
        bias: if conv.bias { ctx.params[1].address } else { 0 },
        silent_bias: pair([conv.silent_bias.start, conv.silent_bias.end]),
        ..EpilogueArgs::of(ctx.steps)
    }
}

/// What the kernels of a forward pass take.
pub(super) fn forward_args(conv: &Conv2d, ctx: &KernelForward<'_>) -> Conv2dArgs {
    Conv2dArgs {
        faults: ctx.faults.map_or(0, |faults| faults.address),
        epilogue: epilogue(conv, ctx),
        ..args(conv, ctx.inputs[0], ctx.params[0], ctx.output, ctx.state_address)
    }
}

/// What the kernels of an input's gradient take.
pub(super) fn input_args(base: Conv2dArgs, gradient: Gradient) -> Conv2dArgs {
    let (result, accumulate) = (gradient.tensor.address, gradient.accumulate.into());
    Conv2dArgs { result, accumulate, ..base }
}

/// What the kernels of the weights' gradient take, in so many parts.
pub(super) fn weight_args(
    base: Conv2dArgs,
    ctx: &KernelBackward<'_>,
    gradient: Gradient,
    splits: usize,
) -> Conv2dArgs {
    let (partial, splits) = (ctx.workspace.address, splits as u32);
    Conv2dArgs { partial, splits, ..input_args(base, gradient) }
}

/// Blocks that a weight gradient should have: two for each of a large GPU's processors.
pub(super) const WANTED_BLOCKS: usize = 264;
/// The fewest pixels of a part.
const PART_PIXELS: usize = 512;
/// The most memory that parts take, in bytes.
const PART_BYTES: usize = 64 << 20;

/// Parts of a weight gradient whose product has so many blocks.
pub(super) fn weight_parts(conv: &Conv2d, blocks: usize, pixels: usize) -> usize {
    let bytes = 4 * conv.terms() * conv.out_channels;
    let most = (pixels / PART_PIXELS).min(PART_BYTES / bytes.max(1));
    (WANTED_BLOCKS / blocks).min(most).clamp(1, 65535 / conv.groups.max(1))
}

/// Adds up the parts of a weight gradient.
pub(super) fn weight_total(
    conv: &Conv2d,
    ctx: &KernelBackward<'_>,
    gradient: Gradient,
    splits: usize,
) -> Result<()> {
    let elements = conv.terms() * conv.out_channels;
    let args = Conv2dTotalArgs {
        partial: ctx.workspace.address,
        result: gradient.tensor.address,
        elements: elements as u64,
        splits: splits as u32,
        accumulate: gradient.accumulate.into(),
    };
    let grid = [elements.div_ceil(256) as u32, 1, 1];
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("conv2d_weight_total_f32", (grid, [256, 1, 1]), &args) }
}
