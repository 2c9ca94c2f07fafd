//! Grids of the tensor-core kernels (`kernels/conv2d/conv2d_mma*.cu`).

use super::Conv2d;
use super::args::{forward_args, input_args, weight_args, weight_parts, weight_total};
use super::symbols::{Symbols, symbols};
use crate::Result;
use crate::device::args::Conv2dArgs;
use crate::number::{Compute, Format};
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

/// The kernels that multiply factors of one format on tensor cores.
pub struct TensorCores {
    operands: Format,
    /// Of large, tall and small tiles.
    symbols: &'static [Symbols; 3],
}

impl TensorCores {
    /// What `compute` asks of `conv`; `None` for exact arithmetic. Depthwise layers have one product a
    /// tap and no use for a tensor core: they are always exact.
    pub fn of(conv: &Conv2d, compute: Compute) -> Option<TensorCores> {
        macro_rules! tiles {
            ($format:literal) => {
                &[
                    symbols!($format, "_128x128"),
                    symbols!($format, "_128x64"),
                    symbols!($format, "_64x64"),
                ]
            };
        }
        let symbols = match compute {
            Compute::Exact => return None,
            Compute::Tf32 => tiles!("tf32"),
            Compute::Bf16 => tiles!("bf16"),
            Compute::F16 => tiles!("f16"),
        };
        let is_depthwise = conv.groups > 1 && conv.group_inputs() == 1;
        (!is_depthwise).then(|| TensorCores { operands: compute.operands(), symbols })
    }

    fn symbols(&self, tile: MmaTile) -> &'static Symbols {
        let [large, tall, small] = self.symbols;
        match tile {
            MmaTile::LARGE => large,
            MmaTile::TALL => tall,
            _ => small,
        }
    }

    /// The kernel that computes `conv` with outputs of `map`.
    pub fn variant(&self, conv: &Conv2d, map: Map) -> KernelVariant {
        let tile = MmaTile::of(map.pixels(), conv.group_outputs());
        let sharing = |tile, run| Sharing { tile, period: tile, run };
        KernelVariant {
            symbol: self.symbols(tile).forward[0],
            rows: sharing(tile.rows, tile.warp_rows),
            columns: sharing(tile.columns, tile.warp_columns),
            step: 256 / self.operands.word_bits() as usize,
            operands: self.operands,
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

pub fn forward(conv: &Conv2d, cores: &TensorCores, ctx: &KernelForward<'_>) -> Result<()> {
    let map = ctx.output_map();
    let tile = MmaTile::of(map.pixels(), conv.group_outputs());
    let symbols = cores.symbols(tile);
    let [clean, armed, armed_inner] = symbols.forward;
    let args = forward_args(conv, ctx);
    let kernel = match ctx.faults {
        None => clean,
        Some(faults) if faults.table.has_inner() => armed_inner,
        Some(_) => armed,
    };
    let rows = ctx.output.images * map.pixels();
    let grid = tile.grid(rows, conv.group_outputs(), conv.groups, 1);
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch(kernel, (grid, [tile.threads(), 1, 1]), &args) }
}

/// Gradients of the weights and of the input; an exact kernel computes the bias's.
pub fn backward(
    conv: &Conv2d,
    cores: &TensorCores,
    ctx: &KernelBackward<'_>,
    base: Conv2dArgs,
) -> Result<()> {
    if let Some(gradient) = ctx.param_gradients[0] {
        weight_gradient(conv, cores, ctx, base, gradient)?;
    }
    if let Some(gradient) = ctx.input_gradients[0] {
        let args = input_args(base, gradient);
        let pixels = ctx.input_map(0).pixels();
        let tile = MmaTile::of(pixels, conv.group_inputs());
        let grid = tile.grid(ctx.output.images * pixels, conv.group_inputs(), conv.groups, 1);
        let kernel = cores.symbols(tile).input_gradient;
        // SAFETY: the arguments are views of `ctx`.
        unsafe { ctx.launch(kernel, (grid, [tile.threads(), 1, 1]), &args) }?;
    }
    Ok(())
}

fn weight_gradient(
    conv: &Conv2d,
    cores: &TensorCores,
    ctx: &KernelBackward<'_>,
    base: Conv2dArgs,
    gradient: Gradient,
) -> Result<()> {
    let pixels = ctx.output_gradient.images * ctx.output_map().pixels();
    let (tile, splits) = weight_tile(conv, pixels);
    let args = weight_args(base, ctx, gradient, splits);
    let grid = tile.grid(conv.terms(), conv.group_outputs(), conv.groups, splits);
    let kernel = cores.symbols(tile).weight_gradient;
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch(kernel, (grid, [tile.threads(), 1, 1]), &args) }?;
    if splits > 1 { weight_total(conv, ctx, gradient, splits) } else { Ok(()) }
}
