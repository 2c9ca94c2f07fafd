//! C\[m, n\] = Σ_taps Σ_d A_tap(m)\[d\] · B\[b_row(tap) + d, n\].

use super::for_each_task;
use super::micro::{Kernels, ROWS, Segment, Tile, kernels};

/// One product. Rows m are output pixels; `taps` of them feed each sum, in order.
pub struct Gather<'a, P> {
    /// Rows of the result.
    pub rows: usize,
    /// First row of B of each tap, in the order of the sum.
    pub b_rows: &'a [usize],
    /// Contiguous floats of a tap.
    pub depth: usize,
    /// Fills in where row m's taps lie: `depth` floats each, one pointer a tap.
    pub pointers: P,
    /// B, row-major, `ldb` floats a row; its columns are the result's.
    pub b: &'a [f32],
    pub ldb: usize,
    pub columns: usize,
    /// Whether sums go on from what the result holds.
    pub accumulate: bool,
    /// Whether every core may be used.
    pub parallel: bool,
}

/// Terms of a block: with 64 columns it takes 96 KB of the second-level cache.
const BLOCK_TERMS: usize = 384;
/// Rows of a task: enough to make packing B cheap.
const TASK_ROWS: usize = 240;
/// Below this many rows B is read where it lies.
const PACK_ROWS: usize = 36;

/// Computes `product`; `output(m)` is where row m of the result starts (`columns` floats).
/// `finish(m, row)` is called once for each part of a row when its sums are complete, with the
/// first column of the part.
///
/// # Safety
/// `pointers` gives pointers to `depth` readable floats; `output` gives rows that are writable
/// and disjoint.
pub unsafe fn gather<P, O, F>(product: &Gather<'_, P>, output: O, finish: F)
where
    P: Fn(usize, &mut [*const f32]) + Sync,
    O: Fn(usize) -> *mut f32 + Sync,
    F: Fn(usize, usize, &mut [f32]) + Sync,
{
    unsafe { gather_with(kernels(), product, output, finish) }
}

unsafe fn gather_with<P, O, F>(kernels: &Kernels, product: &Gather<'_, P>, output: O, finish: F)
where
    P: Fn(usize, &mut [*const f32]) + Sync,
    O: Fn(usize) -> *mut f32 + Sync,
    F: Fn(usize, usize, &mut [f32]) + Sync,
{
    if product.rows == 0 || product.columns == 0 {
        return;
    }
    let panel = kernels.vectors * kernels.lanes;
    let panels = product.columns.div_ceil(panel);
    let chunks = product.rows.div_ceil(TASK_ROWS);
    // Few rows: spread the columns over the cores too.
    let groups = if product.parallel { (4 / chunks).clamp(1, panels) } else { 1 };
    let blocks = blocks(product.b_rows, product.depth);
    for_each_task(product.parallel, chunks * groups, |task| {
        let (chunk, group) = (task / groups, task % groups);
        let first = chunk * TASK_ROWS;
        let rows = TASK_ROWS.min(product.rows - first);
        let first_panel = group * panels / groups;
        let last_panel = (group + 1) * panels / groups;
        let taps = product.b_rows.len();
        let mut pointers = vec![std::ptr::null::<f32>(); taps * rows];
        let mut of_row = vec![std::ptr::null::<f32>(); taps];
        for row in 0..rows {
            (product.pointers)(first + row, &mut of_row);
            for (tap, pointer) in of_row.iter().enumerate() {
                pointers[tap * rows + row] = *pointer;
            }
        }
        let pack = rows >= PACK_ROWS;
        let mut packed = vec![0f32; if pack { BLOCK_TERMS * panel } else { 0 }];
        for panel_index in first_panel..last_panel {
            let column = panel_index * panel;
            let columns = panel.min(product.columns - column);
            let vectors = columns.div_ceil(kernels.lanes);
            let width = vectors * kernels.lanes;
            for (number, block) in blocks.iter().enumerate() {
                if pack {
                    pack_b(product.b, product.ldb, column, columns, width, block, &mut packed);
                }
                for row in (0..rows).step_by(ROWS) {
                    let height = ROWS.min(rows - row);
                    let mut c = [std::ptr::null_mut(); ROWS];
                    for (r, pointer) in c.iter_mut().enumerate().take(height) {
                        *pointer = unsafe { output(first + row + r).add(column) };
                    }
                    let tile = Tile {
                        segments: block,
                        pointers: pointers.as_ptr().wrapping_add(row),
                        stride: rows,
                        b: if pack { packed.as_ptr() } else { product.b[column..].as_ptr() },
                        ldb: if pack { width } else { product.ldb },
                        packed: pack,
                        c,
                        last: columns - (vectors - 1) * kernels.lanes,
                        load: number > 0 || product.accumulate,
                    };
                    // SAFETY: the caller vouches for the pointers; the kernel fits the machine.
                    unsafe { kernels.gather[height - 1][vectors - 1](&tile) };
                    if number + 1 == blocks.len() {
                        for (r, pointer) in c.iter().enumerate().take(height) {
                            let part = unsafe { std::slice::from_raw_parts_mut(*pointer, columns) };
                            finish(first + row + r, column, part);
                        }
                    }
                }
            }
        }
    });
}

/// The sum's terms in order, in blocks of up to [`BLOCK_TERMS`].
fn blocks(b_rows: &[usize], depth: usize) -> Vec<Vec<Segment>> {
    let mut blocks: Vec<Vec<Segment>> = vec![Vec::new()];
    let mut room = BLOCK_TERMS;
    for (tap, b_row) in b_rows.iter().enumerate() {
        let mut start = 0;
        while start < depth {
            if room == 0 {
                blocks.push(Vec::new());
                room = BLOCK_TERMS;
            }
            let length = (depth - start).min(room);
            let segment = Segment { tap, start, length, b_row: b_row + start };
            if let Some(block) = blocks.last_mut() {
                block.push(segment);
            }
            start += length;
            room -= length;
        }
    }
    blocks
}

/// Copies the columns of a block of B together, padded with zeros to whole vectors.
fn pack_b(
    b: &[f32],
    ldb: usize,
    column: usize,
    columns: usize,
    width: usize,
    block: &[Segment],
    packed: &mut [f32],
) {
    let mut rows = packed.chunks_exact_mut(width);
    for segment in block {
        for (term, row) in (0..segment.length).zip(&mut rows) {
            let from = (segment.b_row + term) * ldb + column;
            row[..columns].copy_from_slice(&b[from..from + columns]);
            row[columns..].fill(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::SendPtr;
    use super::*;
    use crate::ops::simd::InstructionSet;

    /// Small integers over odd sizes would hide rounding, so these are fractions.
    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(1664525).wrapping_add(1013904223);
                (state >> 8) as f32 / 16777216.0 - 0.5
            })
            .collect()
    }

    #[test]
    fn every_instruction_set_gives_the_bits_of_a_scalar_chain() {
        for (rows, taps, depth, columns) in
            [(1, 1, 5, 3), (7, 9, 50, 70), (250, 3, 7, 33), (49, 1, 800, 129), (37, 2, 16, 64)]
        {
            let a = numbers(rows * taps * depth, 1);
            let b = numbers(taps * depth * columns, 2);
            let mut expected = vec![0f32; rows * columns];
            for m in 0..rows {
                for n in 0..columns {
                    let mut sum = 0f32;
                    for k in 0..taps * depth {
                        sum = a[m * taps * depth + k].mul_add(b[k * columns + n], sum);
                    }
                    expected[m * columns + n] = sum;
                }
            }
            let b_rows: Vec<usize> = (0..taps).map(|t| t * depth).collect();
            for set in InstructionSet::available() {
                let kernels = Kernels::of(set);
                for parallel in [false, true] {
                    let product = Gather {
                        rows,
                        b_rows: &b_rows,
                        depth,
                        pointers: |m: usize, out: &mut [*const f32]| {
                            for (tap, pointer) in out.iter_mut().enumerate() {
                                *pointer = a[(m * taps + tap) * depth..].as_ptr();
                            }
                        },
                        b: &b,
                        ldb: columns,
                        columns,
                        accumulate: false,
                        parallel,
                    };
                    let mut c = vec![f32::NAN; rows * columns];
                    let base = SendPtr(c.as_mut_ptr());
                    // SAFETY: rows are disjoint and lie within c.
                    unsafe {
                        gather_with(
                            &kernels,
                            &product,
                            |m| base.get().add(m * columns),
                            |_, _, _| {},
                        );
                    }
                    assert_eq!(c, expected, "{set:?}");
                }
            }
        }
    }
}
