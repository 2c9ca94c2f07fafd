//! Products of small matrices that lie close together: one attention head's, say. Sums are chains
//! as in [`super::gather()`], with the same bits.

pub(crate) use super::in_place::Size;
use super::in_place::{RowMajor, SumsAt, product_into, transposed_product_into};
use super::micro::kernels;

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

    /// The rows and their padding.
    pub fn rows(&self) -> RowMajor<'_> {
        RowMajor { values: self.values(), stride: self.stride }
    }

    /// Becomes the transpose of the first `columns` columns of the first `rows` rows of `from`.
    pub fn transpose(&mut self, from: &Matrix, rows: usize, columns: usize) {
        assert!(columns <= from.stride);
        self.transpose_rows(from.rows(), rows, columns);
    }

    /// The same of a matrix that lies anywhere.
    pub fn transpose_rows(&mut self, from: RowMajor<'_>, rows: usize, columns: usize) {
        let stride = self.stride;
        assert!(rows <= stride);
        let to = self.values_mut();
        // One cache line of each row of the result at a time.
        for first in (0..rows).step_by(LINE) {
            let lines = LINE.min(rows - first);
            let mut sources = [&from.values[..0]; LINE];
            for (line, source) in sources.iter_mut().enumerate().take(lines) {
                *source = &from.values[(first + line) * from.stride..][..columns];
            }
            for column in 0..columns {
                let to = &mut to[column * stride + first..][..lines];
                for (to, source) in to.iter_mut().zip(sources) {
                    *to = source[column];
                }
            }
        }
    }
}

/// C\[m, n\] = Σ_k A\[first + m, k\] · B\[k, n\], in the order of k. C's padding is overwritten.
pub(crate) fn product(size: Size, a: &Matrix, first: usize, b: &Matrix, c: &mut Matrix) {
    assert!(size.depth <= a.stride && size.columns <= b.stride);
    let (size, c) = sums_of(size, c);
    let a = RowMajor { values: &a.values()[first * a.stride..], stride: a.stride };
    // SAFETY: C is borrowed, and holds the sums, as `sums_of` asserts.
    unsafe { product_into(size, a, b.rows(), c) };
}

/// C\[m, n\] = Σ_k A\[k, m\] · B\[k, n\], in the order of k. C's padding is overwritten.
pub(crate) fn transposed_product(size: Size, a: &Matrix, b: &Matrix, c: &mut Matrix) {
    assert!(size.rows <= a.stride && size.columns <= b.stride);
    let (size, c) = sums_of(size, c);
    // SAFETY: as in `product`.
    unsafe { transposed_product_into(size, a.rows(), b.rows(), c) };
}

/// The size with whole vectors of columns, and where its sums go.
fn sums_of(size: Size, c: &mut Matrix) -> (Size, SumsAt) {
    let holds_rows = size.rows.checked_mul(c.stride).is_some_and(|end| end <= c.values().len());
    assert!(holds_rows && size.columns <= c.stride);
    let (stride, columns) = (c.stride, size.columns.next_multiple_of(kernels().lanes));
    // What whole vectors don't reach may hold NaN from an earlier use.
    c.values_mut().chunks_mut(stride).take(size.rows).for_each(|row| row[columns..].fill(0.0));
    let to = c.values_mut().as_mut_ptr();
    (Size { columns, ..size }, SumsAt { to, stride, accumulate: false })
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
