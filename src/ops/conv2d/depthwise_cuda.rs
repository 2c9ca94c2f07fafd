//! Arguments and grids of `kernels/conv2d/depthwise.cu` and `kernels/conv2d/depthwise_weight.cu`.

use super::args::{epilogue, pair, size};
use super::{Conv2d, depthwise};
use crate::Result;
use crate::device::args::{
    DepthwiseArgs, DepthwiseWeightArgs, DepthwiseWeightTotalArgs, EpilogueArgs,
};
use crate::number::Format;
use crate::ops::{Gradient, KernelBackward, KernelForward, KernelVariant, Sharing};
use crate::tensor::{Map, Tensor};

/// Threads of a block.
const THREADS: usize = 256;

/// Whether these kernels are the ones to run.
pub(super) fn applies(conv: &Conv2d) -> bool {
    depthwise::applies(conv)
}

/// The kernels for one width of window; those of a fixed width keep a row of it in registers.
struct Variant {
    /// Results of a thread, side by side in a row.
    width: usize,
    /// The same of the input's gradient.
    back_width: usize,
    forward: &'static str,
    input_gradient: &'static str,
    weight_partials: &'static str,
}

macro_rules! variant {
    ($name:literal, $width:literal) => {
        Variant {
            width: $width,
            back_width: 4,
            forward: concat!("depthwise_forward_f32_", $name),
            input_gradient: concat!("depthwise_input_gradient_f32_", $name),
            weight_partials: concat!("depthwise_weight_partials_f32_", $name),
        }
    };
}

static SIZES: [(usize, Variant); 3] =
    [(3, variant!("3", 4)), (5, variant!("5", 4)), (7, variant!("7", 8))];
static ANY: Variant = variant!("any", 4);

/// The kernels for a convolution, which follow from its parameters alone.
fn kernels(conv: &Conv2d) -> &'static Variant {
    // Rows of a kernel are side by side in a block of the weights' gradient.
    let regular = conv.in_channels.is_multiple_of(4)
        && conv.dilation[1] == 1
        && conv.stride[1] <= 2
        && conv.kernel[0] <= 32;
    let of_size = SIZES.iter().find(|(size, _)| regular && *size == conv.kernel[1]);
    of_size.map_or(&ANY, |(_, variant)| variant)
}

/// How far faults inside reach, for outputs of `output`: a thread's copy of a tap serves its strip, which
/// lies in one row. Rows of outputs stand for tiles, since nothing is shared by a block.
pub(super) fn variant(conv: &Conv2d, output: Map) -> KernelVariant {
    let kernels = kernels(conv);
    KernelVariant {
        symbol: kernels.forward,
        rows: Sharing { tile: output.width, period: output.width, run: kernels.width },
        columns: Sharing::ALONE,
        step: 1,
        operands: Format::F32,
        group_columns: 1,
    }
}

/// The largest power of two up to `most` in whose multiples `count` things leave at most an eighth
/// idle.
fn side(count: usize, most: usize) -> usize {
    let mut sides = (0..=most.ilog2()).rev().map(|bits| 1 << bits);
    sides.find(|side| count.next_multiple_of(*side) * 7 <= count * 8).unwrap_or(1)
}

/// Quads of channels of a block: 8 are a line of 128 bytes a pixel.
fn block_quads(conv: &Conv2d) -> usize {
    side(conv.in_channels.div_ceil(4), 8)
}

/// Arguments and grid of a kernel whose threads have strips of `result`, `width` results wide, the
/// first one beginning `shift` before the row.
fn strips(
    conv: &Conv2d,
    (source, w, result): (Tensor, Tensor, Tensor),
    width: usize,
    shift: usize,
) -> (DepthwiseArgs, [u32; 3]) {
    let (map, channels) = (result.map(), conv.in_channels);
    let (quads, strips) = (channels.div_ceil(4), (map.width + shift).div_ceil(width));
    let (block_quads, block_strips) = (block_quads(conv), side(strips, 4));
    let block_rows = THREADS / (block_quads * block_strips);
    let rows = result.images * map.height;
    let blocks =
        quads.div_ceil(block_quads) * strips.div_ceil(block_strips) * rows.div_ceil(block_rows);
    let args = DepthwiseArgs {
        source: source.address,
        w: w.address,
        result: result.address,
        state: 0,
        faults: 0,
        source_size: size(source.map()),
        result_size: size(map),
        channels: channels as u32,
        kernel: pair(conv.kernel),
        stride: pair(conv.stride),
        padding: pair(conv.padding),
        dilation: pair(conv.dilation),
        accumulate: 0,
        block_quads: block_quads as u32,
        block_strips: block_strips as u32,
        width: width as u32,
        epilogue: EpilogueArgs::default(),
    };
    (args, [blocks as u32, 1, 1])
}

const BLOCK: [u32; 3] = [THREADS as u32, 1, 1];

pub(super) fn forward(conv: &Conv2d, ctx: &KernelForward<'_>) -> Result<()> {
    let variant = kernels(conv);
    let (args, grid) = strips(conv, (ctx.inputs[0], ctx.params[0], ctx.output), variant.width, 0);
    let args = DepthwiseArgs {
        epilogue: epilogue(conv, ctx),
        faults: ctx.faults.map_or(0, |faults| faults.address),
        state: ctx.state_address,
        ..args
    };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch(variant.forward, (grid, BLOCK), &args) }?;
    if ctx.faults.is_none() {
        return Ok(());
    }
    let grid = [ctx.output.images as u32, 1, 1];
    // SAFETY: as above.
    unsafe { ctx.launch("depthwise_forward_f32_armed", (grid, [64, 1, 1]), &args) }
}

pub(super) fn input_gradient(
    conv: &Conv2d,
    ctx: &KernelBackward<'_>,
    gradient: Gradient,
) -> Result<()> {
    let variant = kernels(conv);
    let named = !std::ptr::eq(variant, &ANY);
    let shift = if named { conv.padding[1] % conv.stride[1] } else { 0 };
    let tensors = (ctx.output_gradient, ctx.params[0], gradient.tensor);
    let (args, grid) = strips(conv, tensors, variant.back_width, shift);
    let args =
        DepthwiseArgs { state: ctx.state_address, accumulate: gradient.accumulate.into(), ..args };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch(variant.input_gradient, (grid, BLOCK), &args) }
}

/// How the weights' gradient is cut.
struct Cut {
    /// Quads × kernel rows (or taps) × lanes.
    block: [usize; 3],
    channel_blocks: usize,
    tap_blocks: usize,
    /// Of the outputs: a number that follows from the convolution alone.
    parts: usize,
}

fn cut(conv: &Conv2d) -> Cut {
    let quads = block_quads(conv);
    let channel_blocks = conv.in_channels.div_ceil(4 * quads);
    let (beside, tap_blocks) = if std::ptr::eq(kernels(conv), &ANY) {
        let taps = conv.taps().min(8);
        (taps, conv.taps().div_ceil(taps))
    } else {
        (conv.kernel[0], 1)
    };
    // A block is at most 64 deep.
    let lanes = (THREADS / (quads * beside)).min(64);
    // About 512 blocks, a full wave of a large GPU.
    let parts = (512 / (channel_blocks * tap_blocks)).clamp(8, 512);
    Cut { block: [quads, beside, lanes], channel_blocks, tap_blocks, parts }
}

/// The partial sums of the weights' gradient.
pub(super) fn workspace_bytes(conv: &Conv2d) -> usize {
    4 * cut(conv).parts * conv.taps() * conv.in_channels
}

pub(super) fn weight_gradient(
    conv: &Conv2d,
    ctx: &KernelBackward<'_>,
    gradient: Gradient,
) -> Result<()> {
    let cut = cut(conv);
    let args = DepthwiseWeightArgs {
        x: ctx.inputs[0].address,
        dy: ctx.output_gradient.address,
        partials: ctx.workspace.address,
        state: ctx.state_address,
        in_size: size(ctx.input_map(0)),
        out_size: size(ctx.output_map()),
        channels: conv.in_channels as u32,
        kernel: pair(conv.kernel),
        stride: pair(conv.stride),
        padding: pair(conv.padding),
        dilation: pair(conv.dilation),
        parts: cut.parts as u32,
    };
    let grid = [(cut.channel_blocks * cut.parts) as u32, cut.tap_blocks as u32, 1];
    let block = cut.block.map(|side| side as u32);
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch(kernels(conv).weight_partials, (grid, block), &args) }?;
    let elements = conv.taps() * conv.in_channels;
    let args = DepthwiseWeightTotalArgs {
        partials: ctx.workspace.address,
        dw: gradient.tensor.address,
        elements: elements as u32,
        parts: cut.parts as u32,
        accumulate: gradient.accumulate.into(),
    };
    let grid = [elements.div_ceil(32) as u32, 1, 1];
    // SAFETY: as above.
    unsafe { ctx.launch("depthwise_weight_gradient_f32", (grid, [32, 16, 1]), &args) }
}
