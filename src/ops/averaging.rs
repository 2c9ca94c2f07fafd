//! Means over rectangles of pixels, what average pooling and adaptive average pooling share: a
//! rectangle is one span of rows times one span of columns.

use super::pixels::{self, EachPixel};
use super::{HostBackward, HostForward};
use crate::cpu::gemm::SendPtr;
use crate::cpu::wide::{LANES, Pieces, for_each_piece, load, store_or_add};
use crate::tensor::{Map, Span};

/// One axis of the rectangles.
pub(crate) struct PoolAxis {
    /// The inputs that an output reads.
    spans: Vec<Span>,
    /// How many positions it counts.
    counts: Vec<usize>,
    /// The outputs that read an input.
    readers: Vec<Span>,
}

impl PoolAxis {
    /// `window(output)` is its span of inputs and its count; spans move on with the output.
    pub fn new(inputs: usize, outputs: usize, window: impl Fn(usize) -> (Span, usize)) -> Self {
        let (spans, counts): (Vec<Span>, Vec<usize>) = (0..outputs).map(window).unzip();
        let readers = (0..inputs)
            .map(|input| {
                let first = spans.partition_point(|span| span.end <= input);
                Span::new(first, spans.partition_point(|span| span.start <= input))
            })
            .collect();
        PoolAxis { spans, counts, readers }
    }
}

/// y\[(i, j), c\] = (Σ x\[(row, column), c\]) / (rows counted ·
/// columns counted), added in row-major order from zero, then one division.
struct OutputPixels<'a> {
    rows: &'a PoolAxis,
    columns: &'a PoolAxis,
    input: Map,
    /// The first channel of the box.
    start: usize,
    x: &'a [f32],
}

impl EachPixel for OutputPixels<'_> {
    #[inline(always)]
    fn of(&self, image: usize, row: usize, column: usize, y: &mut [f32]) {
        let OutputPixels { rows, columns, input, .. } = self;
        let x = &self.x[image * input.elements()..(image + 1) * input.elements()];
        let count = (rows.counts[row] * columns.counts[column]) as f32;
        y.fill(0.0);
        for from_row in rows.spans[row].range() {
            for from_column in columns.spans[column].range() {
                let from = input.index(from_row, from_column, self.start);
                let x = &x[from..from + y.len()];
                y.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
            }
        }
        y.iter_mut().for_each(|sum| *sum /= count);
    }
}

/// The means over the output box.
pub(crate) fn forward(rows: &PoolAxis, columns: &PoolAxis, ctx: &mut HostForward<'_>) {
    let (input, start, y) = (ctx.input_map(0), ctx.region.channels.start, ctx.output());
    let work = OutputPixels { rows, columns, input, start, x: ctx.input(0) };
    pixels::forward(ctx, y, &work);
}

/// Rows of the input's gradient: dx\[q, c\] = Σ dy\[p, c\] / count of p over the rectangles p that
/// hold q, in row-major order.
struct InputRows<'a> {
    rows: &'a PoolAxis,
    columns: &'a PoolAxis,
    input: Map,
    map: Map,
    dy: &'a [f32],
    dx: SendPtr<f32>,
    accumulate: bool,
}

impl Pieces for InputRows<'_> {
    #[inline(always)]
    fn run(&self, piece: usize) {
        let InputRows { rows, columns, input, map, .. } = self;
        let (image, row) = (piece / input.height, piece % input.height);
        let dy = &self.dy[image * map.elements()..(image + 1) * map.elements()];
        for column in 0..input.width {
            for channel in (0..input.channels).step_by(LANES) {
                let lanes = LANES.min(input.channels - channel);
                let mut sum = [0f32; LANES];
                for reader_row in rows.readers[row].range() {
                    for reader_column in columns.readers[column].range() {
                        let count =
                            (rows.counts[reader_row] * columns.counts[reader_column]) as f32;
                        let values = load(dy, map.index(reader_row, reader_column, channel), lanes);
                        for lane in 0..LANES {
                            sum[lane] += values[lane] / count;
                        }
                    }
                }
                let at = image * input.elements() + input.index(row, column, channel);
                // SAFETY: `lanes` elements of this piece's row.
                unsafe { store_or_add(self.dx.get().add(at), &sum, lanes, self.accumulate) };
            }
        }
    }
}

/// The gradient of the input, if it is asked for.
pub(crate) fn backward(rows: &PoolAxis, columns: &PoolAxis, ctx: &mut HostBackward<'_>) {
    let Some((dx, accumulate)) = ctx.input_gradient(0) else { return };
    let work = InputRows {
        rows,
        columns,
        input: ctx.input_map(0),
        map: ctx.output_map(),
        dy: ctx.output_gradient(),
        dx: SendPtr(dx.as_mut_ptr()),
        accumulate,
    };
    for_each_piece(true, ctx.images() * work.input.height, &work);
}
