//! Products of small matrices that lie close together: one attention head's, say. Sums are chains
//! as in [`super::gather()`], with the same bits.

use super::micro::{ProductKernels, ProductTile, ROWS, Segment, kernels};

/// Floats of a cache line: rows begin at lines.
const LINE: usize = 16;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct CacheLine([f32; LINE]);

/// A row-major matrix whose rows are padded to whole cache lines.
pub(crate) struct Matrix {
    lines: Vec<CacheLine>,
    stride: usize,
}

impl Matrix {
    /// Zeros.
    pub fn zeros(rows: usize, columns: usize) -> Self {
        let per_row = columns.div_ceil(LINE);
        Matrix { lines: vec![CacheLine([0.0; LINE]); rows * per_row], stride: per_row * LINE }
    }

    /// Floats from row to row: the columns and their padding.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Every element and the padding.
    pub fn values(&self) -> &[f32] {
        bytemuck::cast_slice(&self.lines)
    }

    /// As [`Matrix::values`], to be written.
    pub fn values_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }

    /// A row and its padding.
    #[inline(always)]
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values()[row * self.stride..][..self.stride]
    }

    /// As [`Matrix::row`], to be written.
    #[inline(always)]
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let stride = self.stride;
        &mut self.values_mut()[row * stride..][..stride]
    }

    /// Becomes the transpose of the first `columns` columns of the first `rows` rows of `from`.
    pub fn transpose(&mut self, from: &Matrix, rows: usize, columns: usize) {
        let (stride, from_stride) = (self.stride, from.stride);
        assert!(rows <= stride && columns <= from_stride);
        let (to, from) = (self.values_mut(), from.values());
        for row in 0..rows {
            let source = &from[row * from_stride..][..columns];
            for (value, to) in source.iter().zip(to[row..].iter_mut().step_by(stride)) {
                *to = *value;
            }
        }
    }
}

/// Sizes of a product: `rows` × `depth` times `depth` × `columns`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub rows: usize,
    pub depth: usize,
    pub columns: usize,
}

/// C\[m, n\] = Σ_k A\[first + m, k\] · B\[k, n\], in the order of k. C's padding may be overwritten.
pub(crate) fn product(size: Size, a: &Matrix, first: usize, b: &Matrix, c: &mut Matrix) {
    let Size { rows, depth, columns } = size;
    assert!((first + rows) * a.stride <= a.values().len() && depth <= a.stride);
    assert!(depth * b.stride <= b.values().len() && columns <= b.stride);
    assert!(rows * c.stride <= c.values().len() && columns <= c.stride);
    let kernels = kernels();
    let segments = [Segment { tap: 0, start: 0, length: depth, b_row: 0 }];
    for_each_tile(kernels, size, b, c, |row, height, vectors, tile| {
        let mut pointers = [std::ptr::null(); ROWS];
        for (r, pointer) in pointers.iter_mut().enumerate().take(height) {
            *pointer = a.values()[(first + row + r) * a.stride..].as_ptr();
        }
        let tile = ProductTile { segments: &segments, pointers: pointers.as_ptr(), ..tile };
        // SAFETY: rows, depth and whole vectors of columns lie within the matrices, as asserted;
        // the kernel fits the machine.
        unsafe { kernels.gather[height - 1][vectors - 1](&tile) };
    });
}

/// C\[m, n\] = Σ_k A\[k, m\] · B\[k, n\], in the order of k. C's padding may be overwritten.
pub(crate) fn transposed_product(size: Size, a: &Matrix, b: &Matrix, c: &mut Matrix) {
    let Size { rows, depth, columns } = size;
    assert!(depth * a.stride <= a.values().len() && rows <= a.stride);
    assert!(depth * b.stride <= b.values().len() && columns <= b.stride);
    assert!(rows * c.stride <= c.values().len() && columns <= c.stride);
    let kernels = kernels();
    let pointers: Vec<*const f32> =
        a.values().chunks_exact(a.stride).take(depth).map(<[f32]>::as_ptr).collect();
    for_each_tile(kernels, size, b, c, |row, height, vectors, tile| {
        let segments = [Segment { tap: 0, start: row, length: depth, b_row: 0 }];
        let tile = ProductTile { segments: &segments, pointers: pointers.as_ptr(), ..tile };
        // SAFETY: as in `product`.
        unsafe { kernels.outer[height - 1][vectors - 1](&tile) };
    });
}

/// Calls `run(first row, rows, vectors, tile)` for the tiles of a product; segments and pointers
/// are the caller's to set.
fn for_each_tile(
    kernels: &ProductKernels,
    size: Size,
    b: &Matrix,
    c: &mut Matrix,
    run: impl Fn(usize, usize, usize, ProductTile<'_>),
) {
    let panel = kernels.vectors * kernels.lanes;
    let stride = c.stride;
    let c = c.values_mut().as_mut_ptr();
    for column in (0..size.columns).step_by(panel) {
        let vectors = panel.min(size.columns - column).div_ceil(kernels.lanes);
        for row in (0..size.rows).step_by(ROWS) {
            let height = ROWS.min(size.rows - row);
            let mut rows = [std::ptr::null_mut(); ROWS];
            for (r, pointer) in rows.iter_mut().enumerate().take(height) {
                *pointer = c.wrapping_add((row + r) * stride + column);
            }
            let tile = ProductTile {
                segments: &[],
                pointers: std::ptr::null(),
                taps: 1,
                b: b.values()[column..].as_ptr(),
                ldb: b.stride,
                packed: true,
                c: rows,
                // Rows are padded to whole vectors.
                last: kernels.lanes,
                load: false,
            };
            run(row, height, vectors, tile);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rows: usize, columns: usize, seed: usize) -> Matrix {
        let mut matrix = Matrix::zeros(rows, columns);
        for row in 0..rows {
            for (column, value) in matrix.row_mut(row).iter_mut().enumerate().take(columns) {
                *value = ((row * 131 + column * 71 + seed * 17) % 257) as f32 / 128.3 - 1.0;
            }
        }
        matrix
    }

    #[test]
    fn products_are_scalar_chains() {
        for (rows, depth, columns) in
            [(1, 1, 1), (12, 32, 64), (7, 5, 49), (13, 49, 24), (64, 64, 70)]
        {
            let size = Size { rows, depth, columns };
            let (a, b) = (matrix(rows + 2, depth, 1), matrix(depth, columns, 2));
            let mut a_t = Matrix::zeros(depth, rows + 2);
            a_t.transpose(&a, rows + 2, depth);
            let [mut c, mut c_t] = [0, 1].map(|_| Matrix::zeros(rows, columns));
            product(size, &a, 2, &b, &mut c);
            transposed_product(size, &a_t, &b, &mut c_t);
            let chain = |m: usize, n: usize| {
                (0..depth).fold(0f32, |sum, k| a.row(m)[k].mul_add(b.row(k)[n], sum))
            };
            for m in 0..rows {
                for n in 0..columns {
                    assert_eq!(c.row(m)[n], chain(m + 2, n), "{size:?} at {m}, {n}");
                    assert_eq!(c_t.row(m)[n], chain(m, n), "{size:?} transposed at {m}, {n}");
                }
            }
        }
    }
}
