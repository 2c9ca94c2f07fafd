//! Means over rectangles of pixels, what average pooling and adaptive average pooling share: a
//! rectangle is one span of rows times one span of columns.

use super::gemm::{SendPtr, for_each_task};
use super::wide::{LANES, load, store, store_or_add, wide};
use super::{Backward, Forward};
use crate::tensor::Span;

/// One axis of the rectangles.
pub(crate) struct Axis {
    /// The inputs that an output reads.
    spans: Vec<Span>,
    /// How many positions it counts.
    counts: Vec<usize>,
    /// The outputs that read an input.
    readers: Vec<Span>,
}

impl Axis {
    /// `window(output)` is its span of inputs and its count; spans move on with the output.
    pub fn new(inputs: usize, outputs: usize, window: impl Fn(usize) -> (Span, usize)) -> Self {
        let (spans, counts): (Vec<Span>, Vec<usize>) = (0..outputs).map(window).unzip();
        let readers = (0..inputs)
            .map(|input| {
                let first = spans.partition_point(|span| span.end <= input);
                Span::new(first, spans.partition_point(|span| span.start <= input))
            })
            .collect();
        Axis { spans, counts, readers }
    }
}

/// y\[(i, j), c\] = (Σ x\[(row, column), c\]) / (rows counted · columns counted): adds in row-major
/// order from zero, then one division.
pub(crate) fn forward(rows: &Axis, columns: &Axis, ctx: &mut Forward<'_>) {
    let (x, input, map, region) = (ctx.input(0), ctx.input_map(0), ctx.output_map(), ctx.region);
    let parallel = ctx.parallel;
    let y = SendPtr(ctx.output().as_mut_ptr());
    let row_task = |task: usize| {
        let image = region.images.start + task / region.rows.len();
        let row = region.rows.start + task % region.rows.len();
        let image_x = &x[image * input.elements()..(image + 1) * input.elements()];
        for column in region.columns.range() {
            let count = (rows.counts[row] * columns.counts[column]) as f32;
            for channel in region.channels.range().step_by(LANES) {
                let lanes = LANES.min(region.channels.end - channel);
                let mut sum = [0f32; LANES];
                for from_row in rows.spans[row].range() {
                    for from_column in columns.spans[column].range() {
                        let at = input.index(from_row, from_column, channel);
                        let values = load(image_x, at, lanes);
                        for lane in 0..LANES {
                            sum[lane] += values[lane];
                        }
                    }
                }
                let at = image * map.elements() + map.index(row, column, channel);
                // SAFETY: `lanes` elements of this task's row.
                unsafe { store(y.get().add(at), &sum.map(|sum| sum / count), lanes) };
            }
        }
    };
    for_each_task(parallel, region.images.len() * region.rows.len(), |task| {
        wide(|| row_task(task));
    });
}

/// dx\[q, c\] = Σ dy\[p, c\] / count of p over the rectangles p that hold q, in row-major order.
pub(crate) fn backward(rows: &Axis, columns: &Axis, ctx: &mut Backward<'_>) {
    let Some((dx, accumulate)) = ctx.input_gradient(0) else { return };
    let (dy, input, map) = (ctx.output_gradient(), ctx.input_map(0), ctx.output_map());
    let dx = SendPtr(dx.as_mut_ptr());
    let row_task = |task: usize| {
        let (image, row) = (task / input.height, task % input.height);
        let image_dy = &dy[image * map.elements()..(image + 1) * map.elements()];
        for column in 0..input.width {
            for channel in (0..input.channels).step_by(LANES) {
                let lanes = LANES.min(input.channels - channel);
                let mut sum = [0f32; LANES];
                for reader_row in rows.readers[row].range() {
                    for reader_column in columns.readers[column].range() {
                        let count =
                            (rows.counts[reader_row] * columns.counts[reader_column]) as f32;
                        let at = map.index(reader_row, reader_column, channel);
                        let values = load(image_dy, at, lanes);
                        for lane in 0..LANES {
                            sum[lane] += values[lane] / count;
                        }
                    }
                }
                let at = image * input.elements() + input.index(row, column, channel);
                // SAFETY: `lanes` elements of this task's row.
                unsafe { store_or_add(dx.get().add(at), &sum, lanes, accumulate) };
            }
        }
    };
    for_each_task(true, ctx.images() * input.height, |task| wide(|| row_task(task)));
}
