//! Products of matrices where they lie, on one thread. Sums are chains as in [`super::gather()`], with the
//! same bits.

use super::micro::{ProductKernels, ProductTile, ROWS, Segment, kernels};

/// Terms of a block: with 64 columns it takes 96 KB of the second-level cache.
const BLOCK_TERMS: usize = 384;

/// Sizes of a product: `rows` × `depth` times `depth` × `columns`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub rows: usize,
    pub depth: usize,
    pub columns: usize,
}

/// A matrix of which rows begin `stride` floats apart.
#[derive(Clone, Copy)]
pub(crate) struct RowMajor<'a> {
    pub values: &'a [f32],
    pub stride: usize,
}

impl RowMajor<'_> {
    /// Whether so many rows and columns lie within it.
    fn holds(&self, rows: usize, columns: usize) -> bool {
        let last = rows.saturating_sub(1).checked_mul(self.stride);
        let end = last.and_then(|start| start.checked_add(columns));
        rows == 0 || end.is_some_and(|end| end <= self.values.len())
    }

    /// Where a row begins.
    fn row(&self, row: usize) -> *const f32 {
        self.values[row * self.stride..].as_ptr()
    }
}

/// Where a product's sums go.
#[derive(Clone, Copy)]
pub(crate) struct SumsAt {
    pub to: *mut f32,
    /// Floats from row to row.
    pub stride: usize,
    /// Whether sums go on from what is there.
    pub accumulate: bool,
}

/// C\[m, n\] (+)= Σ_k A\[m, k\] · B\[k, n\], in the order of k.
///
/// # Safety
/// Every element of C is writable at `c`, initialised where sums go on from it, and nobody else touches it.
pub(crate) unsafe fn product_into(size: Size, a: RowMajor<'_>, b: RowMajor<'_>, c: SumsAt) {
    assert!(a.holds(size.rows, size.depth) && b.holds(size.depth, size.columns));
    let kernels = kernels();
    for_each_tile(kernels, size, b, c, |place, tile| {
        let mut pointers = [std::ptr::null(); ROWS];
        for (r, pointer) in pointers.iter_mut().enumerate().take(place.rows) {
            *pointer = a.row(place.row + r);
        }
        let segments =
            [Segment { tap: 0, start: place.term, length: place.terms, b_row: place.term }];
        let tile = ProductTile { segments: &segments, pointers: pointers.as_ptr(), ..tile };
        // SAFETY: the factors lie within their matrices, as asserted, C is the caller's; the kernel fits the
        // machine.
        unsafe { kernels.gather[place.rows - 1][place.vectors - 1](&tile) };
    });
}

/// C\[m, n\] (+)= Σ_k A\[k, m\] · B\[k, n\], in the order of k.
///
/// # Safety
/// As [`product_into`].
pub(crate) unsafe fn transposed_product_into(
    size: Size,
    a: RowMajor<'_>,
    b: RowMajor<'_>,
    c: SumsAt,
) {
    assert!(a.holds(size.depth, size.rows) && b.holds(size.depth, size.columns));
    let kernels = kernels();
    let pointers: Vec<*const f32> = (0..size.depth).map(|term| a.row(term)).collect();
    for_each_tile(kernels, size, b, c, |place, tile| {
        let segments = [Segment { tap: 0, start: place.row, length: place.terms, b_row: 0 }];
        let tile = ProductTile {
            segments: &segments,
            pointers: pointers[place.term..].as_ptr(),
            b: tile.b.wrapping_add(place.term * tile.ldb),
            ..tile
        };
        // SAFETY: as in `product_into`.
        unsafe { kernels.outer[place.rows - 1][place.vectors - 1](&tile) };
    });
}

/// Which part of a product a tile is: rows from `row` on, and a block of terms.
struct TilePlace {
    row: usize,
    rows: usize,
    vectors: usize,
    term: usize,
    terms: usize,
}

/// Calls `run` for the tiles of a product, those of an element in the order of their terms; segments and
/// pointers are the caller's to set. Nothing is read or written here.
fn for_each_tile(
    kernels: &ProductKernels,
    size: Size,
    b: RowMajor<'_>,
    c: SumsAt,
    run: impl Fn(TilePlace, ProductTile<'_>),
) {
    let Size { rows: all_rows, depth, columns } = size;
    let panel = kernels.panel();
    // One empty block where there is nothing to sum.
    let blocks = depth.div_ceil(BLOCK_TERMS).max(1);
    for column in (0..columns).step_by(panel) {
        let width = panel.min(columns - column);
        let vectors = width.div_ceil(kernels.lanes);
        for block in 0..blocks {
            let term = block * BLOCK_TERMS;
            let terms = BLOCK_TERMS.min(depth - term);
            for row in (0..all_rows).step_by(ROWS) {
                let rows = ROWS.min(all_rows - row);
                let mut c_rows = [std::ptr::null_mut(); ROWS];
                for (r, pointer) in c_rows.iter_mut().enumerate().take(rows) {
                    *pointer = c.to.wrapping_add((row + r) * c.stride + column);
                }
                let tile = ProductTile {
                    segments: &[],
                    pointers: std::ptr::null(),
                    taps: 1,
                    b: b.values.as_ptr().wrapping_add(column),
                    ldb: b.stride,
                    packed: false,
                    c: c_rows,
                    last: width - (vectors - 1) * kernels.lanes,
                    load: c.accumulate || block > 0,
                };
                run(TilePlace { row, rows, vectors, term, terms }, tile);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|at| ((at * 131 + seed * 71) % 257) as f32 / 128.3 - 1.0).collect()
    }

    /// Matrices that fill their memory, so that no row may be read beyond its end.
    #[test]
    fn products_in_place_are_scalar_chains_that_may_go_on() {
        for (rows, depth, columns) in [(1, 1, 1), (7, 5, 49), (13, 800, 21), (64, 64, 70)] {
            let size = Size { rows, depth, columns };
            let (a, b) = (numbers(rows * depth, 1), numbers(depth * columns, 2));
            let mut a_t = vec![0.0; a.len()];
            for (at, value) in a.iter().enumerate() {
                a_t[at % depth * rows + at / depth] = *value;
            }
            let b = RowMajor { values: &b, stride: columns };
            for accumulate in [false, true] {
                let start = numbers(rows * columns, 3);
                let mut sums = [start.clone(), start.clone()];
                let [c, c_t] = sums.each_mut().map(|sums| {
                    let to = sums.as_mut_ptr();
                    SumsAt { to, stride: columns, accumulate }
                });
                // SAFETY: elements of `sums`, which nobody else uses.
                unsafe {
                    product_into(size, RowMajor { values: &a, stride: depth }, b, c);
                    let a_t = RowMajor { values: &a_t, stride: rows };
                    transposed_product_into(size, a_t, b, c_t);
                }
                for at in 0..rows * columns {
                    let (m, n) = (at / columns, at % columns);
                    let first = if accumulate { start[at] } else { 0.0 };
                    let chain = (0..depth).fold(first, |sum, k| {
                        a[m * depth + k].mul_add(b.values[k * columns + n], sum)
                    });
                    assert_eq!([sums[0][at], sums[1][at]], [chain; 2], "{size:?} at {m}, {n}");
                }
            }
        }
    }
}
