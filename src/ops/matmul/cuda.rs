//! Arguments and grids of `kernels/gemm/matmul.cu`.

use super::{BatchedProduct, FactorForm, GradientFactor, MatMul, misfit};
use crate::Result;
use crate::device::args::MatmulArgs;
use crate::ops::{KernelBackward, KernelForward};

/// A tile: rows and columns of a block, its threads, and its kernels.
struct MatrixTile {
    side: usize,
    threads: u32,
    plain: [&'static str; 2],
    transposed: [&'static str; 2],
    outer: &'static str,
}

/// The kernels of a tile of a size; of those of forward the clean and the armed one.
macro_rules! tile {
    ($side:literal, $threads:literal, $size:literal) => {
        MatrixTile {
            side: $side,
            threads: $threads,
            plain: [
                concat!("matmul_plain_f32_", $size),
                concat!("matmul_plain_f32_", $size, "_armed"),
            ],
            transposed: [
                concat!("matmul_transposed_f32_", $size),
                concat!("matmul_transposed_f32_", $size, "_armed"),
            ],
            outer: concat!("matmul_outer_f32_", $size),
        }
    };
}

const LARGE: MatrixTile = tile!(128, 256, "128x128");
const SMALL: MatrixTile = tile!(64, 128, "64x64");

impl BatchedProduct {
    /// The large tile where it leaves no more of itself empty than the small one. It follows from the
    /// matrix alone, so that an image's bits don't depend on its batch.
    fn tile(&self) -> &'static MatrixTile {
        let is_filled = |size: usize| 2 * size.div_ceil(LARGE.side) == size.div_ceil(SMALL.side);
        match is_filled(self.rows) && is_filled(self.columns) {
            true => &LARGE,
            false => &SMALL,
        }
    }

    /// The kernel, the grid for `images` (the capacity) and the block.
    fn launch(&self, images: usize, armed: bool) -> (&'static str, [u32; 3], [u32; 3]) {
        let tile = self.tile();
        let kernel = match self.form {
            FactorForm::Plain => tile.plain[usize::from(armed)],
            FactorForm::Transposed => tile.transposed[usize::from(armed)],
            FactorForm::Outer => tile.outer,
        };
        let blocks = images * self.batches * self.rows.div_ceil(tile.side);
        let across = self.columns.div_ceil(tile.side);
        (kernel, [blocks as u32, across as u32, 1], [tile.threads, 1, 1])
    }

    /// The arguments, of products a·b to c.
    fn args(&self, [a, b, c]: [u64; 3], state: u64) -> MatmulArgs {
        MatmulArgs {
            a,
            b,
            c,
            state,
            faults: 0,
            batches: self.batches as u32,
            rows: self.rows as u32,
            columns: self.columns as u32,
            terms: self.terms as u32,
            accumulate: 0,
        }
    }
}

pub fn forward(op: &MatMul, ctx: &KernelForward<'_>) -> Result<()> {
    let product = op.product(ctx.input_map(0), ctx.input_map(1)).ok_or_else(|| misfit(ctx.node))?;
    let (kernel, grid, block) = product.launch(ctx.output.images, ctx.faults.is_some());
    let views = [ctx.inputs[0].address, ctx.inputs[1].address, ctx.output.address];
    let args = MatmulArgs {
        faults: ctx.faults.map_or(0, |faults| faults.address),
        ..product.args(views, ctx.state_address)
    };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch(kernel, (grid, block), &args) }
}

/// One launch an input, so that the two may be one value.
pub fn backward(op: &MatMul, ctx: &KernelBackward<'_>) -> Result<()> {
    let forward = op.product(ctx.input_map(0), ctx.input_map(1)).ok_or_else(|| misfit(ctx.node))?;
    for (input, gradient) in ctx.input_gradients.iter().enumerate() {
        let Some(gradient) = gradient else { continue };
        let (product, factors) = op.gradient(input, forward);
        let [a, b] = factors.map(|factor| match factor {
            GradientFactor::OutputGradient => ctx.output_gradient.address,
            GradientFactor::Input(index) => ctx.inputs[index].address,
        });
        let args = MatmulArgs {
            accumulate: gradient.accumulate.into(),
            ..product.args([a, b, gradient.tensor.address], ctx.state_address)
        };
        let (kernel, grid, block) = product.launch(gradient.tensor.images, false);
        // SAFETY: the arguments are views of `ctx`.
        unsafe { ctx.launch(kernel, (grid, block), &args) }?;
    }
    Ok(())
}
