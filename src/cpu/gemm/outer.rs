//! C\[(tap, i), n\] = Σ_pixels A_tap(pixel)\[i\] · B\[pixel, n\]: the gradient of weights.

use super::micro::{ProductTile, ROWS, Segment, kernels};
use super::taps::{Scratch, Taps};
use super::{SendPtr, for_each_task};

/// One product, summed over pixels in order.
pub struct WeightGradGemm<'a> {
    pub pixels: usize,
    pub taps: usize,
    /// Contiguous floats of a tap: rows of the result a tap.
    pub depth: usize,
    /// Where a pixel's taps lie: `depth` floats each.
    pub pointers: &'a dyn Taps,
    /// B, row-major, one row a pixel, `ldb` floats apart.
    pub b: &'a [f32],
    pub ldb: usize,
    pub columns: usize,
    /// Floats between rows of the result.
    pub ldc: usize,
    pub accumulate: bool,
    pub parallel: bool,
}

/// Pixels of a block.
const BLOCK_PIXELS: usize = 256;
/// Rows of the result of a task, at least, where there are so many.
const TASK_ROWS: usize = 48;

/// Computes `product` into `c`: row tap·depth + i, `ldc` floats apart.
///
/// # Safety
/// `pointers` gives pointers to `depth` readable floats; `c` holds the result's rows, initialised where the product
/// accumulates, and nobody else uses them.
pub(crate) unsafe fn outer(product: &WeightGradGemm<'_>, c: SendPtr<f32>) {
    let kernels = kernels();
    let panel = kernels.panel();
    let panels = product.columns.div_ceil(panel);
    // No tile crosses the end of a tap.
    let tiles_per_tap = product.depth.div_ceil(ROWS);
    let tiles = product.taps * tiles_per_tap;
    let parts = (8usize.div_ceil(panels)).min((tiles * ROWS).div_ceil(TASK_ROWS)).max(1);
    for_each_task(product.parallel, panels * parts, |task| {
        let (panel_index, part) = (task / parts, task % parts);
        let (first, last) = (part * tiles / parts, (part + 1) * tiles / parts);
        if first == last {
            return;
        }
        let column = panel_index * panel;
        let columns = panel.min(product.columns - column);
        let vectors = columns.div_ceil(kernels.lanes);
        let width = vectors * kernels.lanes;
        Scratch::with(|scratch| {
            let mut packed = std::mem::take(&mut scratch.packed);
            packed.resize(packed.len().max(BLOCK_PIXELS * width), 0.0);
            for block in (0..product.pixels).step_by(BLOCK_PIXELS) {
                let pixels = BLOCK_PIXELS.min(product.pixels - block);
                for (pixel, row) in packed.chunks_exact_mut(width).enumerate().take(pixels) {
                    let from = (block + pixel) * product.ldb + column;
                    row[..columns].copy_from_slice(&product.b[from..from + columns]);
                }
                scratch.locate(product.pointers, block..block + pixels, product.taps);
                for tile in first..last {
                    let (tap, start) = (tile / tiles_per_tap, tile % tiles_per_tap * ROWS);
                    let height = ROWS.min(product.depth - start);
                    let mut rows = [std::ptr::null_mut(); ROWS];
                    for (r, pointer) in rows.iter_mut().enumerate().take(height) {
                        let row = tap * product.depth + start + r;
                        // SAFETY: a row of the caller's result.
                        *pointer = unsafe { c.get().add(row * product.ldc + column) };
                    }
                    let segment = Segment { tap, start, length: pixels, b_row: 0 };
                    let tile = ProductTile {
                        segments: &[segment],
                        pointers: scratch.pointers(0, product.taps),
                        taps: product.taps,
                        b: packed.as_ptr(),
                        ldb: width,
                        packed: true,
                        c: rows,
                        last: columns - (vectors - 1) * kernels.lanes,
                        load: block > 0 || product.accumulate,
                    };
                    // SAFETY: the caller vouches for the pointers; the kernel fits the machine.
                    unsafe { kernels.outer[height - 1][vectors - 1](&tile) };
                }
            }
            scratch.packed = packed;
        });
    });
}
