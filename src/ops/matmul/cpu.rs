//! Matrix products on the CPU, in tasks of some rows of a matrix; over a box, only its rows and columns.

use std::ops::Range;

use super::{BatchedProduct, FactorForm, GradientFactor, MatMul, misfit};
use crate::Result;
use crate::cpu::gemm::in_place::{RowMajor, Size, SumsAt, product_into, transposed_product_into};
use crate::cpu::gemm::small::Matrix;
use crate::cpu::gemm::{SendPtr, for_each_task};
use crate::ops::{HostBackward, HostForward};
use crate::tensor::Region;

/// Tasks that each core should get, for balance.
const TASKS: usize = 4;
/// Rows of a task at least, where matrices have to be split for want of them.
const LEAST_ROWS: usize = 48;

pub fn forward(op: &MatMul, ctx: &mut HostForward<'_>) -> Result<()> {
    let product = op.product(ctx.input_map(0), ctx.input_map(1)).ok_or_else(|| misfit(ctx.node))?;
    let y = ctx.output();
    let factors = [ctx.input(0), ctx.input(1)];
    let to = SendPtr(y.as_mut_ptr());
    let work = MatrixTasks { product, factors, region: ctx.region, to, accumulate: false };
    work.run(ctx.parallel);
    if let Some(faults) = ctx.faults {
        faults.table.apply(y, ctx.output_map(), ctx.region);
    }
    Ok(())
}

/// One input after the other, so that the two may be one value.
pub fn backward(op: &MatMul, ctx: &mut HostBackward<'_>) -> Result<()> {
    let maps = [ctx.input_map(0), ctx.input_map(1)];
    let forward = op.product(maps[0], maps[1]).ok_or_else(|| misfit(ctx.node))?;
    for (input, map) in maps.into_iter().enumerate() {
        let (product, factors) = op.gradient(input, forward);
        let factors = factors.map(|factor| match factor {
            GradientFactor::OutputGradient => ctx.output_gradient(),
            GradientFactor::Input(index) => ctx.input(index),
        });
        let Some((to, accumulate)) = ctx.input_gradient(input) else { continue };
        let to = SendPtr(to.as_mut_ptr());
        let region = Region::full(ctx.images(), map);
        MatrixTasks { product, factors, region, to, accumulate }.run(true);
    }
    Ok(())
}

/// The products of a box of the result: a map's rows are matrices, its columns are their rows, and its
/// channels are their columns.
struct MatrixTasks<'a> {
    product: BatchedProduct,
    factors: [&'a [f32]; 2],
    region: Region,
    to: SendPtr<f32>,
    accumulate: bool,
}

impl MatrixTasks<'_> {
    fn run(&self, parallel: bool) {
        let (matrices, rows) = (self.region.row_count(), self.region.columns);
        let threads = if parallel { rayon::current_num_threads() } else { 1 };
        let wanted = if threads > 1 { (TASKS * threads).div_ceil(matrices.max(1)) } else { 1 };
        let parts = wanted.min(rows.len() / LEAST_ROWS).max(1);
        for_each_task(parallel, matrices * parts, |task| {
            let (image, batch) = self.region.row(task / parts);
            let at = |part: usize| rows.start + part * rows.len() / parts;
            let part = task % parts;
            self.part(image * self.product.batches + batch, at(part)..at(part + 1));
        });
    }

    /// Some rows of the result's matrix `number`.
    fn part(&self, number: usize, part: Range<usize>) {
        let BatchedProduct { form, rows, columns, terms, .. } = self.product;
        let wanted = self.region.channels;
        let size = Size { rows: part.len(), depth: terms, columns: wanted.len() };
        let [a, b] = self.factors;
        let a = &a[number * rows * terms..][..rows * terms];
        let b = &b[number * columns * terms..][..columns * terms];
        let first = (number * rows + part.start) * columns + wanted.start;
        let to = self.to.get().wrapping_add(first);
        let c = SumsAt { to, stride: columns, accumulate: self.accumulate };
        let a_rows = RowMajor { values: &a[part.start * terms..], stride: terms };
        let b_rows = RowMajor { values: &b[wanted.start..], stride: columns };
        match form {
            // SAFETY: rows and columns of the box, which this task alone writes.
            FactorForm::Plain => unsafe { product_into(size, a_rows, b_rows, c) },
            FactorForm::Transposed => {
                let lines = RowMajor { values: &b[wanted.start * terms..], stride: terms };
                let mut b = Matrix::zeros(terms, wanted.len());
                b.transpose_rows(lines, wanted.len(), terms);
                // SAFETY: as above.
                unsafe { product_into(size, a_rows, b.rows(), c) };
            }
            FactorForm::Outer => {
                let a_terms = RowMajor { values: &a[part.start..], stride: rows };
                // SAFETY: as above.
                unsafe { transposed_product_into(size, a_terms, b_rows, c) };
            }
        }
    }
}
