//! Launches of `conv2d.cu`, `conv2d_quads.cu` and `conv2d_backward.cu` in `kernels/conv2d/`.

use super::args::{
    WANTED_BLOCKS, args, forward_args, input_args, pair, weight_args, weight_parts, weight_total,
};
use super::exact_tiles::{ForwardTile, Tile};
use super::tensor_core::{self, TensorCores};
use super::{Conv2d, depthwise_cuda};
use crate::Result;
use crate::device::args::Conv2dBiasArgs;
use crate::number::Format;
use crate::ops::{KernelBackward, KernelForward, KernelVariant, Sharing};
use crate::tensor::Map;

/// The exact kernel of a layer whose output is `output`.
pub fn variant(conv: &Conv2d, output: Map) -> KernelVariant {
    if depthwise_cuda::applies(conv) {
        return depthwise_cuda::variant(conv, output);
    }
    let tile = Tile::of(conv.group_outputs(), output.pixels());
    // Quads of 4, half a tile apart where a thread has two of them.
    let column_hop = if tile.columns >= 128 { tile.columns / 2 } else { tile.columns };
    KernelVariant {
        symbol: tile.symbols.forward[0],
        rows: Sharing { tile: tile.rows, period: tile.rows / 2, run: 4 },
        columns: Sharing { tile: tile.columns, period: column_hop, run: 4 },
        step: 1,
        operands: Format::F32,
        group_columns: conv.group_outputs(),
    }
}

/// Tile and parts of the weight gradient for so many pixels of a whole batch: enough blocks to fill a
/// GPU. Follows from sizes alone.
fn weight_tile(conv: &Conv2d, pixels: usize) -> (Tile, usize) {
    let (rows, columns) = (conv.terms(), conv.group_outputs());
    let tile = if rows >= 128 && columns >= 128 { Tile::LARGE } else { Tile::SMALL };
    let blocks: usize = tile.grid(rows, columns, conv.groups).iter().map(|n| *n as usize).product();
    (tile, weight_parts(conv, blocks, pixels))
}

/// Parts of a bias gradient.
fn bias_parts(channels: usize) -> usize {
    (WANTED_BLOCKS / channels.div_ceil(32)).max(1)
}

/// Bytes for the parts of both, in backward.
pub fn workspace_bytes(conv: &Conv2d, pixels: usize) -> usize {
    let (_, splits) = weight_tile(conv, pixels);
    let weights = match splits {
        _ if depthwise_cuda::applies(conv) => depthwise_cuda::workspace_bytes(conv),
        1 => 0,
        splits => 4 * splits * conv.terms() * conv.out_channels,
    };
    weights.max(8 * bias_parts(conv.out_channels) * conv.out_channels)
}

pub fn forward(conv: &Conv2d, ctx: &KernelForward<'_>) -> Result<()> {
    if depthwise_cuda::applies(conv) {
        return depthwise_cuda::forward(conv, ctx);
    }
    if let Some(cores) = TensorCores::of(conv, ctx.device.compute()) {
        return tensor_core::forward(conv, &cores, ctx);
    }
    let (columns, groups) = (conv.group_outputs(), conv.groups);
    let rows = ctx.output.images * ctx.output_map().pixels();
    let (kernel, grid, block) = if ctx.faults.is_some_and(|faults| faults.table.has_inner()) {
        let tile = Tile::of(columns, ctx.output_map().pixels());
        (tile.symbols.forward[2], tile.grid(rows, columns, groups), tile.block())
    } else {
        let all = ForwardTile::all(conv, ctx.input_map(0), ctx.output.images);
        let tile = ForwardTile::of(all, rows, columns, groups, conv.terms());
        let kernel = tile.kernels[usize::from(ctx.faults.is_some())];
        (kernel, tile.grid(rows, columns, groups), [tile.threads, 1, 1])
    };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch(kernel, (grid, block), &forward_args(conv, ctx)) }
}

pub fn backward(conv: &Conv2d, ctx: &KernelBackward<'_>) -> Result<()> {
    let base = args(conv, ctx.inputs[0], ctx.params[0], ctx.output_gradient, ctx.state_address);
    if conv.bias
        && let Some(gradient) = ctx.param_gradients[1]
    {
        let parts = bias_parts(conv.out_channels);
        let args = Conv2dBiasArgs {
            dy: ctx.output_gradient.address,
            partial: ctx.workspace.address,
            result: gradient.tensor.address,
            state: ctx.state_address,
            pixels: ctx.output_map().pixels() as u32,
            out_channels: conv.out_channels as u32,
            parts: parts as u32,
            accumulate: gradient.accumulate.into(),
            silent_bias: pair([conv.silent_bias.start, conv.silent_bias.end]),
        };
        let grid = [parts as u32, conv.out_channels.div_ceil(32) as u32, 1];
        // SAFETY: the arguments are views of `ctx`.
        unsafe { ctx.launch("conv2d_bias_partials_f32", (grid, [32, 16, 1]), &args) }?;
        let grid = [conv.out_channels.div_ceil(64) as u32, 1, 1];
        // SAFETY: as above.
        unsafe { ctx.launch("conv2d_bias_total_f32", (grid, [64, 1, 1]), &args) }?;
    }
    if depthwise_cuda::applies(conv) {
        if let Some(gradient) = ctx.param_gradients[0] {
            depthwise_cuda::weight_gradient(conv, ctx, gradient)?;
        }
        if let Some(gradient) = ctx.input_gradients[0] {
            depthwise_cuda::input_gradient(conv, ctx, gradient)?;
        }
        return Ok(());
    }
    if let Some(cores) = TensorCores::of(conv, ctx.device.compute()) {
        return tensor_core::backward(conv, &cores, ctx, base);
    }
    if let Some(gradient) = ctx.param_gradients[0] {
        let pixels = ctx.output_gradient.images * ctx.output_map().pixels();
        let (tile, splits) = weight_tile(conv, pixels);
        let args = weight_args(base, ctx, gradient, splits);
        let grid = tile.grid(conv.terms(), conv.group_outputs(), conv.groups * splits);
        // SAFETY: as above.
        unsafe { ctx.launch(tile.symbols.weight_gradient, (grid, tile.block()), &args) }?;
        if splits > 1 {
            weight_total(conv, ctx, gradient, splits)?;
        }
    }
    if let Some(gradient) = ctx.input_gradients[0] {
        let args = input_args(base, gradient);
        let map = ctx.input_map(0);
        let tile = Tile::of(conv.group_inputs(), map.pixels());
        let rows = ctx.output.images * map.pixels();
        let grid = tile.grid(rows, conv.group_inputs(), conv.groups);
        // SAFETY: as above.
        unsafe { ctx.launch(tile.symbols.input_gradient, (grid, tile.block()), &args) }?;
    }
    Ok(())
}
