//! Grids of the tensor-core kernels (`kernels/conv2d/conv2d_mma*.cu`).

use super::Conv2d;
use super::args::{forward_args, weight_parts, weight_total};
use crate::Result;
use crate::device::Compute;
use crate::device::args::Conv2dArgs;
use crate::fault::Format;
use crate::ops::{Gradient, KernelBackward, KernelForward, KernelVariant, Sharing};
use crate::tensor::Map;

/// A block's tile, and its warps'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MmaTile {
    rows: usize,
    columns: usize,
    warp_rows: usize,
    warp_columns: usize,
}

impl MmaTile {
    const LARGE: MmaTile = MmaTile { rows: 128, columns: 128, warp_rows: 64, warp_columns: 32 };
    const TALL: MmaTile = MmaTile { rows: 128, columns: 64, warp_rows: 32, warp_columns: 32 };
    const SMALL: MmaTile = MmaTile { rows: 64, columns: 64, warp_rows: 32, warp_columns: 32 };

    /// The tile for a product of `rows` (of one image, or of a weight) × `columns` (of a group). Large
    /// tiles read least, where they don't leave rows or columns empty, and multiprocessors without work:
    ///
    /// | rows | columns | tile |
    /// |---|---|---|
    /// | below 128 | any | 64 × 64 |
    /// | 128 and more | to 64 | 128 × 64 |
    /// | 128 to 511 | more than 64 | 128 × 64 |
    /// | 512 and more | more than 64 | 128 × 128 |
    fn of(rows: usize, columns: usize) -> MmaTile {
        match (rows, columns) {
            (0..128, _) => MmaTile::SMALL,
            (128..512, _) | (_, 0..=64) => MmaTile::TALL,
            _ => MmaTile::LARGE,
        }
    }

    fn threads(&self) -> u32 {
        (32 * self.rows / self.warp_rows * self.columns / self.warp_columns) as u32
    }

    fn grid(&self, rows: usize, columns: usize, groups: usize, splits: usize) -> [u32; 3] {
        let tiles = rows.div_ceil(self.rows) * columns.div_ceil(self.columns);
        [tiles as u32, groups as u32, splits as u32]
    }
}

/// The kernels of one type and tile.
struct Symbols {
    forward: &'static str,
    armed: &'static str,
    armed_inner: &'static str,
    input_gradient: &'static str,
    weight_gradient: &'static str,
}

macro_rules! symbols {
    ($variant:literal) => {
        &Symbols {
            forward: concat!("conv2d_forward_", $variant),
            armed: concat!("conv2d_forward_", $variant, "_armed"),
            armed_inner: concat!("conv2d_forward_", $variant, "_armed_inner"),
            input_gradient: concat!("conv2d_input_gradient_", $variant),
            weight_gradient: concat!("conv2d_weight_gradient_", $variant),
        }
    };
}

/// A way to multiply on tensor cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operands {
    Tf32,
    Bf16,
    F16,
}

impl Operands {
    /// What `compute` asks of `conv`; `None` for exact arithmetic. Depthwise layers have one product a
    /// tap and no use for a tensor core: they are always exact.
    pub fn of(conv: &Conv2d, compute: Compute) -> Option<Operands> {
        if conv.groups > 1 && conv.group_inputs() == 1 {
            return None;
        }
        match compute {
            Compute::Exact => None,
            Compute::Tf32 => Some(Operands::Tf32),
            Compute::Bf16 => Some(Operands::Bf16),
            Compute::F16 => Some(Operands::F16),
        }
    }

    fn symbols(self, tile: MmaTile) -> &'static Symbols {
        match (self, tile) {
            (Operands::Tf32, MmaTile::LARGE) => symbols!("tf32_128x128"),
            (Operands::Tf32, MmaTile::TALL) => symbols!("tf32_128x64"),
            (Operands::Tf32, _) => symbols!("tf32_64x64"),
            (Operands::Bf16, MmaTile::LARGE) => symbols!("bf16_128x128"),
            (Operands::Bf16, MmaTile::TALL) => symbols!("bf16_128x64"),
            (Operands::Bf16, _) => symbols!("bf16_64x64"),
            (Operands::F16, MmaTile::LARGE) => symbols!("f16_128x128"),
            (Operands::F16, MmaTile::TALL) => symbols!("f16_128x64"),
            (Operands::F16, _) => symbols!("f16_64x64"),
        }
    }

    /// The kernel that computes `conv` with outputs of `map`.
    pub fn variant(self, conv: &Conv2d, map: Map) -> KernelVariant {
        let tile = MmaTile::of(map.pixels(), conv.group_outputs());
        let (step, operands) = match self {
            Operands::Tf32 => (8, Format::Tf32),
            Operands::Bf16 => (16, Format::Bf16),
            Operands::F16 => (16, Format::Fp16),
        };
        let sharing = |tile, run| Sharing { tile, period: tile, run };
        KernelVariant {
            symbol: self.symbols(tile).forward,
            rows: sharing(tile.rows, tile.warp_rows),
            columns: sharing(tile.columns, tile.warp_columns),
            step,
            operands,
            group_columns: conv.group_outputs(),
        }
    }
}

/// Tile and parts of the weight gradient for so many output pixels of a whole batch. Follows from sizes
/// alone.
fn weight_tile(conv: &Conv2d, pixels: usize) -> (MmaTile, usize) {
    let tile = MmaTile::of(conv.terms(), conv.group_outputs());
    let grid = tile.grid(conv.terms(), conv.group_outputs(), conv.groups, 1);
    let blocks = grid.iter().map(|n| *n as usize).product();
    (tile, weight_parts(conv, blocks, pixels))
}

/// Bytes of the parts of a weight gradient.
pub fn workspace_bytes(conv: &Conv2d, pixels: usize) -> usize {
    match weight_tile(conv, pixels) {
        (_, 1) => 0,
        (_, splits) => 4 * splits * conv.terms() * conv.out_channels,
    }
}

pub fn forward(conv: &Conv2d, operands: Operands, ctx: &KernelForward<'_>) -> Result<()> {
    let map = ctx.output_map();
    let tile = MmaTile::of(map.pixels(), conv.group_outputs());
    let symbols = operands.symbols(tile);
    ctx.require_whole(symbols.forward)?;
    let args = forward_args(conv, ctx);
    let kernel = match ctx.faults {
        None => symbols.forward,
        Some(faults) if faults.table.has_inner() => symbols.armed_inner,
        Some(_) => symbols.armed,
    };
    let rows = ctx.output.images * map.pixels();
    let grid = tile.grid(rows, conv.group_outputs(), conv.groups, 1);
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch(kernel, grid, [tile.threads(), 1, 1], &args) }
}

/// Gradients of the weights and of the input; the bias' is the exact kernels' matter.
pub fn backward(
    conv: &Conv2d,
    operands: Operands,
    ctx: &KernelBackward<'_>,
    base: Conv2dArgs,
) -> Result<()> {
    if let Some(gradient) = ctx.param_gradients[0] {
        weight_gradient(conv, operands, ctx, base, gradient)?;
    }
    if let Some(gradient) = ctx.input_gradients[0] {
        let args = Conv2dArgs {
            result: gradient.tensor.address,
            accumulate: gradient.accumulate.into(),
            ..base
        };
        let pixels = ctx.input_map(0).pixels();
        let tile = MmaTile::of(pixels, conv.group_inputs());
        let grid = tile.grid(ctx.output.images * pixels, conv.group_inputs(), conv.groups, 1);
        let kernel = operands.symbols(tile).input_gradient;
        // SAFETY: the arguments are views of `ctx`.
        unsafe { ctx.launch(kernel, grid, [tile.threads(), 1, 1], &args) }?;
    }
    Ok(())
}

fn weight_gradient(
    conv: &Conv2d,
    operands: Operands,
    ctx: &KernelBackward<'_>,
    base: Conv2dArgs,
    gradient: Gradient,
) -> Result<()> {
    let pixels = ctx.output_gradient.images * ctx.output_map().pixels();
    let (tile, splits) = weight_tile(conv, pixels);
    let args = Conv2dArgs {
        result: gradient.tensor.address,
        partial: ctx.workspace.address,
        accumulate: gradient.accumulate.into(),
        splits: splits as u32,
        ..base
    };
    let grid = tile.grid(conv.terms(), conv.group_outputs(), conv.groups, splits);
    let kernel = operands.symbols(tile).weight_gradient;
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch(kernel, grid, [tile.threads(), 1, 1], &args) }?;
    if splits > 1 { weight_total(conv, ctx, gradient, splits) } else { Ok(()) }
}
