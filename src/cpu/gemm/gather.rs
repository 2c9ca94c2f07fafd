//! C\[m, n\] = Σ_taps Σ_d A_tap(m)\[d\] · B\[b_row(tap) + d, n\].

use std::ops::Range;

use super::for_each_task;
use super::micro::{ProductKernels, ProductTile, ROWS, Segment, kernels};
use super::taps::{Scratch, Taps};
use crate::cpu::simd::prefetch;
use crate::cpu::wide::wide;

/// One product. Rows m are output pixels; `taps` of them feed each sum, in order.
pub struct ImplicitGemm<'a, P> {
    /// Rows of the result.
    pub rows: usize,
    /// First row of B of each tap, in the order of the sum.
    pub b_rows: &'a [usize],
    /// Contiguous floats of a tap.
    pub depth: usize,
    /// Where a row's taps lie: `depth` floats each.
    pub pointers: P,
    /// B, row-major, `ldb` floats a row; its columns are the result's.
    pub b: &'a [f32],
    pub ldb: usize,
    pub columns: usize,
    /// The same B as [`pack`] has put it, if there is such a copy.
    pub packed: Option<&'a [f32]>,
    /// Whether sums go on from what the result holds.
    pub accumulate: bool,
    /// Whether every core may be used.
    pub parallel: bool,
}

/// What is done to finished sums of a product: a closure `|m, column, part|`, or a type where a closure
/// would be too large to be inlined.
pub trait Finish: Sync {
    /// Called once for each part of row `m` when its sums are complete and in the nearest cache:
    /// `part` is up to 64 columns from `column` on. To be `#[inline(always)]`, which compiles it
    /// for the machine's vectors.
    fn finish(&self, m: usize, column: usize, part: &mut [f32]);
}

impl<F: Fn(usize, usize, &mut [f32]) + Sync> Finish for F {
    #[inline(always)]
    fn finish(&self, m: usize, column: usize, part: &mut [f32]) {
        self(m, column, part);
    }
}

/// Nothing follows: sums stay as they are.
pub(crate) struct AsIs;

impl Finish for AsIs {
    #[inline(always)]
    fn finish(&self, _: usize, _: usize, _: &mut [f32]) {}
}

/// Terms of a block: with 64 columns it takes 96 KB of the second-level cache.
const BLOCK_TERMS: usize = 384;
/// Terms of a block of a skinny product.
const SKINNY_TERMS: usize = 32;
/// Rows of a task at most: enough to make packing B cheap.
const TASK_ROWS: usize = 480;
/// Rows of a task at least, where rows have to be split for want of columns.
const LEAST_ROWS: usize = 48;
/// Below this many rows B is read once, where it lies.
const PACK_ROWS: usize = 36;
/// Tasks that each core should get, for balance.
const TASKS: usize = 4;
/// How many panels ahead of the one that is read are prefetched.
const PREFETCH_PANELS: usize = 2;

/// Computes `product`; `output(m)` is where row m of the result starts (`columns` floats).
/// `finish` is called once for each part of a row when its sums are complete.
///
/// # Panics
/// Where B, or what is packed of it, hasn't all rows that taps name.
///
/// # Safety
/// `pointers` gives pointers to `depth` readable floats; `output` gives rows that are writable, disjoint, initialised
/// where sums go on from them, and in nobody else's use.
pub unsafe fn gather<P, O, F>(product: &ImplicitGemm<'_, P>, output: O, finish: F)
where
    P: Taps,
    O: Fn(usize) -> *mut f32 + Sync,
    F: Finish,
{
    // SAFETY: the caller's; the kernels are this machine's.
    unsafe { gather_with(kernels(), product, output, finish) }
}

/// # Safety
/// As [`gather`], and the instructions of `kernels` are there.
unsafe fn gather_with<P, O, F>(
    kernels: &ProductKernels,
    product: &ImplicitGemm<'_, P>,
    output: O,
    finish: F,
) where
    P: Taps,
    O: Fn(usize) -> *mut f32 + Sync,
    F: Finish,
{
    if product.rows == 0 || product.columns == 0 {
        return;
    }
    // Tiles read B by pointers, `depth` rows of it from each tap's first on; what is packed is sliced.
    let holds = |first: &usize| {
        let last =
            first.checked_add(product.depth - 1).and_then(|row| row.checked_mul(product.ldb));
        let end = last.and_then(|start| start.checked_add(product.columns));
        end.is_some_and(|end| end <= product.b.len())
    };
    let reads_b = product.packed.is_none() && product.depth > 0;
    assert!(!reads_b || product.b_rows.iter().all(holds), "B hasn't all rows of the product");
    let threads = if product.parallel { rayon::current_num_threads() } else { 1 };
    let panels = product.columns.div_ceil(kernels.panel());
    let (chunks, groups) = split(product.rows, panels, threads);
    let skinny = product.rows < PACK_ROWS;
    let terms = if skinny && product.packed.is_none() { SKINNY_TERMS } else { BLOCK_TERMS };
    let blocks = Blocks::new(product.b_rows, product.depth, terms);
    for_each_task(product.parallel, chunks * groups, |task| {
        let (chunk, group) = (task / groups, task % groups);
        // Only the last chunk ends within a tile.
        let tiles = product.rows.div_ceil(ROWS);
        let first = chunk * tiles / chunks * ROWS;
        let end = ((chunk + 1) * tiles / chunks * ROWS).min(product.rows);
        Scratch::with(|scratch| {
            scratch.locate(&product.pointers, first..end, product.b_rows.len());
            scratch.rows.clear();
            scratch.rows.extend((first..end).map(&output));
            let task = PanelTask {
                kernels,
                product,
                blocks: &blocks,
                panels: group * panels / groups..(group + 1) * panels / groups,
                first,
            };
            // SAFETY: the caller's; tasks have rows or panels of their own.
            unsafe {
                match product.packed {
                    Some(b) => task.prepacked(b, scratch, &finish),
                    None if skinny => task.skinny(scratch, &finish),
                    None => task.packed(scratch, &finish),
                }
            };
        });
    });
}

/// Into how many parts rows and panels are split: parts of up to [`TASK_ROWS`] rows, columns too
/// where those are few, and smaller parts of rows where there are few of both.
fn split(rows: usize, panels: usize, threads: usize) -> (usize, usize) {
    let chunks = rows.div_ceil(TASK_ROWS);
    if threads == 1 {
        return (chunks, 1);
    }
    if chunks >= TASKS * threads {
        return (chunks.next_multiple_of(threads), 1);
    }
    let groups = (TASKS * threads).div_ceil(chunks).min(panels);
    let wanted = (TASKS * threads).div_ceil(groups);
    (wanted.min(rows / LEAST_ROWS).max(chunks), groups)
}

/// A task's part of a product: some rows by some panels of columns.
struct PanelTask<'a, P> {
    kernels: &'a ProductKernels,
    product: &'a ImplicitGemm<'a, P>,
    blocks: &'a Blocks,
    panels: Range<usize>,
    /// The task's first row.
    first: usize,
}

impl<P> PanelTask<'_, P> {
    /// Panel by panel, block by block: the block's columns of B are packed and stay in the cache
    /// while the rows pass by.
    ///
    /// # Safety
    /// As [`gather`], for the rows of the task; `scratch` has their pointers.
    unsafe fn packed(&self, scratch: &mut Scratch, finish: &impl Finish) {
        let mut packed = std::mem::take(&mut scratch.packed);
        packed.resize(packed.len().max(BLOCK_TERMS * self.kernels.panel()), 0.0);
        for panel in self.panels.clone() {
            for number in 0..self.blocks.len() {
                let (column, columns, vectors) = self.columns(panel);
                let width = vectors * self.kernels.lanes;
                let segments = self.blocks.segments(number);
                let (b, ldb) = (self.product.b, self.product.ldb);
                pack_b(b, ldb, column, columns, width, segments, &mut packed);
                // SAFETY: the caller's; the block's columns are packed.
                unsafe {
                    self.rows(scratch, panel, number, (packed.as_ptr(), width), true, finish)
                };
            }
        }
        scratch.packed = packed;
    }

    /// Panel by panel, block by block, out of a copy of B that is packed already.
    ///
    /// # Safety
    /// As [`gather`], for the rows of the task; `scratch` has their pointers.
    unsafe fn prepacked(&self, b: &[f32], scratch: &Scratch, finish: &impl Finish) {
        let terms = self.product.b_rows.len() * self.product.depth;
        for panel in self.panels.clone() {
            let (column, _, vectors) = self.columns(panel);
            let width = vectors * self.kernels.lanes;
            let mut at = column * terms;
            for number in 0..self.blocks.len() {
                let length: usize = self.blocks.segments(number).iter().map(|s| s.length).sum();
                let block = &b[at..at + length * width];
                // SAFETY: the caller's; the block is as long as its terms.
                unsafe { self.rows(scratch, panel, number, (block.as_ptr(), width), true, finish) };
                at += length * width;
            }
        }
    }

    /// Block by block, panel by panel: B is read once, along its rows, which suits memory.
    ///
    /// # Safety
    /// As [`gather`], for the rows of the task; `scratch` has their pointers; B has all rows that taps name.
    unsafe fn skinny(&self, scratch: &Scratch, finish: &impl Finish) {
        let ldb = self.product.ldb;
        for number in 0..self.blocks.len() {
            for panel in self.panels.clone() {
                let (column, columns, _) = self.columns(panel);
                let b = self.product.b[column..].as_ptr();
                for segment in self.blocks.segments(number) {
                    for row in segment.b_row..segment.b_row + segment.length {
                        let ahead = row * ldb + PREFETCH_PANELS * self.kernels.panel();
                        for line in (0..columns).step_by(16) {
                            prefetch(b.wrapping_add(ahead + line));
                        }
                    }
                }
                // SAFETY: the caller's; B holds the block's rows.
                unsafe { self.rows(scratch, panel, number, (b, ldb), false, finish) };
            }
        }
    }

    /// First column, columns and vectors of a panel.
    fn columns(&self, panel: usize) -> (usize, usize, usize) {
        let column = panel * self.kernels.panel();
        let columns = self.kernels.panel().min(self.product.columns - column);
        (column, columns, columns.div_ceil(self.kernels.lanes))
    }

    /// All rows of the task against one block of one panel.
    ///
    /// # Safety
    /// As [`gather`]; `b` is readable for the terms of block `number`, `ldb` apart, a panel's columns each.
    unsafe fn rows(
        &self,
        scratch: &Scratch,
        panel: usize,
        number: usize,
        (b, ldb): (*const f32, usize),
        packed: bool,
        finish: &impl Finish,
    ) {
        let taps = self.product.b_rows.len();
        let (column, columns, vectors) = self.columns(panel);
        let rows = scratch.rows.len();
        for row in (0..rows).step_by(ROWS) {
            let height = ROWS.min(rows - row);
            let mut c = [std::ptr::null_mut(); ROWS];
            for (pointer, start) in c.iter_mut().zip(&scratch.rows[row..row + height]) {
                // SAFETY: a column of the caller's row.
                *pointer = unsafe { start.add(column) };
            }
            let tile = ProductTile {
                segments: self.blocks.segments(number),
                pointers: scratch.pointers(row, taps),
                taps,
                b,
                ldb,
                packed,
                c,
                last: columns - (vectors - 1) * self.kernels.lanes,
                load: number > 0 || self.product.accumulate,
            };
            // SAFETY: the caller vouches for the pointers; the kernel fits the machine.
            unsafe { self.kernels.gather[height - 1][vectors - 1](&tile) };
            if number + 1 == self.blocks.len() {
                let first = self.first + row;
                wide(|| {
                    for (r, pointer) in c.iter().enumerate().take(height) {
                        // SAFETY: stored by the kernel just now; this task's own.
                        let part = unsafe { std::slice::from_raw_parts_mut(*pointer, columns) };
                        finish.finish(first + r, column, part);
                    }
                });
            }
        }
    }
}

/// A sum's terms in order, in blocks of limited length.
struct Blocks {
    segments: Vec<Segment>,
    /// Where each block's segments end.
    ends: Vec<usize>,
}

impl Blocks {
    /// Blocks of up to `terms`; one empty block where there is nothing to sum.
    fn new(b_rows: &[usize], depth: usize, terms: usize) -> Blocks {
        let mut blocks = Blocks { segments: Vec::new(), ends: Vec::new() };
        let mut room = terms;
        for (tap, b_row) in b_rows.iter().enumerate() {
            let mut start = 0;
            while start < depth {
                if room == 0 {
                    blocks.ends.push(blocks.segments.len());
                    room = terms;
                }
                let length = (depth - start).min(room);
                blocks.segments.push(Segment { tap, start, length, b_row: b_row + start });
                start += length;
                room -= length;
            }
        }
        blocks.ends.push(blocks.segments.len());
        blocks
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn segments(&self, block: usize) -> &[Segment] {
        let start = if block == 0 { 0 } else { self.ends[block - 1] };
        &self.segments[start..self.ends[block]]
    }
}

/// A copy of a B of `columns` columns for [`ImplicitGemm::packed`]: panel after panel of columns, each with its
/// rows one after another, padded with zeros to whole vectors.
pub fn pack(b: &[f32], columns: usize) -> Vec<f32> {
    pack_with(kernels(), b, columns)
}

fn pack_with(kernels: &ProductKernels, b: &[f32], columns: usize) -> Vec<f32> {
    let rows = b.len() / columns.max(1);
    let mut packed = vec![0.0; rows * columns.next_multiple_of(kernels.lanes)];
    let whole = [Segment { tap: 0, start: 0, length: rows, b_row: 0 }];
    for column in (0..columns).step_by(kernels.panel()) {
        let of_panel = kernels.panel().min(columns - column);
        let width = of_panel.next_multiple_of(kernels.lanes);
        let panel = &mut packed[column * rows..(column + width) * rows];
        pack_b(b, columns, column, of_panel, width, &whole, panel);
    }
    packed
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
    use crate::cpu::simd::InstructionSet;

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
                let kernels = ProductKernels::of(set);
                let packed = pack_with(&kernels, &b, columns);
                let ways = [
                    (false, None),
                    (true, None),
                    (false, Some(&packed[..])),
                    (true, Some(&packed)),
                ];
                for (parallel, packed) in ways {
                    let product = ImplicitGemm {
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
                        packed,
                        accumulate: false,
                        parallel,
                    };
                    let mut c = vec![f32::NAN; rows * columns];
                    let base = SendPtr(c.as_mut_ptr());
                    // SAFETY: rows are disjoint and lie within c.
                    unsafe {
                        gather_with(&kernels, &product, |m| base.get().add(m * columns), AsIs);
                    }
                    assert_eq!(c, expected, "{set:?}");
                }
            }
        }
    }
}
