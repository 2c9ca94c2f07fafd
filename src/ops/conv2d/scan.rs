//! What each result of a convolution reads, forward or backward: result i reads the source at
//! i·step + offset, one offset a tap.

use std::ops::Range;

use super::Conv2d;
use crate::cpu::gemm::Taps;
use crate::tensor::{Map, Region, Span};

/// One axis of a scan.
pub(super) struct TapAxis {
    pub step: isize,
    /// Kernel index and offset of each tap, in the order of the sum.
    pub taps: Vec<(usize, isize)>,
    /// Positions of the source.
    size: usize,
    /// The least and the greatest offset.
    reach: (isize, isize),
}

impl TapAxis {
    fn new(step: usize, taps: Vec<(usize, isize)>, size: usize) -> TapAxis {
        let offsets = || taps.iter().map(|(_, offset)| *offset);
        let reach = (offsets().min().unwrap_or(0), offsets().max().unwrap_or(0));
        TapAxis { step: step as isize, taps, size, reach }
    }

    /// What an output reads of the input.
    fn forward(conv: &Conv2d, axis: usize, size: usize) -> TapAxis {
        let offset = |tap| (tap * conv.dilation[axis]) as isize - conv.padding[axis] as isize;
        let taps = (0..conv.kernel[axis]).map(|tap| (tap, offset(tap))).collect();
        TapAxis::new(conv.stride[axis], taps, size)
    }

    /// What an input reads of the output's gradient, among inputs that leave `phase` by the stride.
    fn gradient(conv: &Conv2d, axis: usize, phase: usize, size: usize) -> TapAxis {
        let stride = conv.stride[axis] as isize;
        let distance =
            |tap| (phase + conv.padding[axis]) as isize - (tap * conv.dilation[axis]) as isize;
        let taps = (0..conv.kernel[axis])
            .filter(|tap| distance(*tap) % stride == 0)
            .map(|tap| (tap, distance(tap) / stride))
            .collect();
        TapAxis::new(1, taps, size)
    }

    /// Where a tap of result `at` lies: `None` in the padding.
    #[inline]
    fn source(&self, at: usize, offset: isize) -> Option<usize> {
        usize::try_from(at as isize * self.step + offset).ok().filter(|at| *at < self.size)
    }

    /// Whether all taps of result `at` lie within the source.
    #[inline]
    fn is_inside(&self, at: usize) -> bool {
        let at = at as isize * self.step;
        at + self.reach.0 >= 0 && at + self.reach.1 < self.size as isize
    }

    /// The results within `span` all of whose taps lie within the source.
    pub fn inside(&self, span: Span) -> Span {
        let start = span.range().find(|at| self.is_inside(*at)).unwrap_or(span.end);
        let end = (start..span.end).find(|at| !self.is_inside(*at)).unwrap_or(span.end);
        Span::new(start, end)
    }
}

/// Rows and columns of a source that results read.
pub(super) struct Scan<'a> {
    pub rows: TapAxis,
    pub columns: TapAxis,
    pub values: &'a [f32],
    pub map: Map,
    kernel_columns: usize,
}

impl<'a> Scan<'a> {
    /// Outputs read inputs.
    pub fn forward(conv: &Conv2d, x: &'a [f32], input: Map) -> Scan<'a> {
        Scan {
            rows: TapAxis::forward(conv, 0, input.height),
            columns: TapAxis::forward(conv, 1, input.width),
            values: x,
            map: input,
            kernel_columns: conv.kernel[1],
        }
    }

    /// Inputs that leave `phase` by the stride read gradients of outputs.
    pub fn gradient(conv: &Conv2d, phase: [usize; 2], dy: &'a [f32], map: Map) -> Scan<'a> {
        Scan {
            rows: TapAxis::gradient(conv, 0, phase[0], map.height),
            columns: TapAxis::gradient(conv, 1, phase[1], map.width),
            values: dy,
            map,
            kernel_columns: conv.kernel[1],
        }
    }

    /// How many taps feed a result.
    pub fn taps(&self) -> usize {
        self.rows.taps.len() * self.columns.taps.len()
    }

    /// Numbers of the taps within the kernel, in the order of the sum.
    pub fn numbers(&self) -> impl Iterator<Item = usize> {
        let columns = &self.columns.taps;
        let row = move |(r, _): &(usize, isize)| {
            let first = r * self.kernel_columns;
            columns.iter().map(move |(s, _)| first + s)
        };
        self.rows.taps.iter().flat_map(row)
    }

    /// Calls `with` for each tap of a result, in order: its number within the kernel and where its
    /// first channel lies, `None` in the padding.
    #[inline]
    pub fn for_each_tap(
        &self,
        image: usize,
        row: usize,
        column: usize,
        mut with: impl FnMut(usize, Option<usize>),
    ) {
        let image = image * self.map.elements();
        for (r, row_offset) in &self.rows.taps {
            let source_row = self.rows.source(row, *row_offset);
            for (s, column_offset) in &self.columns.taps {
                let source_column = self.columns.source(column, *column_offset);
                let at = source_row
                    .zip(source_column)
                    .map(|(row, column)| image + self.map.index(row, column, 0));
                with(r * self.kernel_columns + s, at);
            }
        }
    }

    /// Where tap offsets (0, 0) of a result lie, which may be before the values' start.
    #[inline]
    fn origin(&self, image: usize, row: usize, column: usize) -> isize {
        let (row, column) = (row as isize * self.rows.step, column as isize * self.columns.step);
        let pixel = row * self.map.width as isize + column;
        (image * self.map.elements()) as isize + pixel * self.map.channels as isize
    }
}

/// Pixel number `m` of a box: image, row, column.
#[inline]
pub(super) fn pixel(region: &Region, m: usize) -> (usize, usize, usize) {
    let (rows, columns) = (region.rows.len(), region.columns.len());
    let (line, column) = (m / columns, m % columns);
    (
        region.images.start + line / rows,
        region.rows.start + line % rows,
        region.columns.start + column,
    )
}

/// The pixels of a box that follow each other from number `m` on.
fn pixels(region: &Region, m: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let region = *region;
    let (mut image, mut row, mut column) = pixel(&region, m);
    std::iter::from_fn(move || {
        let here = (image, row, column);
        column += 1;
        if column == region.columns.end {
            (column, row) = (region.columns.start, row + 1);
            if row == region.rows.end {
                (row, image) = (region.rows.start, image + 1);
            }
        }
        Some(here)
    })
}

/// The taps of a box's pixels, each `depth` channels from `channel` on.
pub(super) struct PixelTaps<'a> {
    scan: &'a Scan<'a>,
    region: Region,
    channel: usize,
    /// Distances of taps from the origin, in floats.
    offsets: Vec<isize>,
    /// What padding taps read.
    zeros: Vec<f32>,
}

impl<'a> PixelTaps<'a> {
    pub fn new(scan: &'a Scan<'a>, region: Region, channel: usize, depth: usize) -> Self {
        let row = (scan.map.width * scan.map.channels) as isize;
        let mut offsets = Vec::with_capacity(scan.taps());
        for (_, r) in &scan.rows.taps {
            offsets.extend(
                scan.columns.taps.iter().map(|(_, s)| r * row + s * scan.map.channels as isize),
            );
        }
        PixelTaps { scan, region, channel, offsets, zeros: vec![0.0; depth] }
    }
}

impl Taps for PixelTaps<'_> {
    fn locate(&self, rows: Range<usize>, table: &mut [*const f32], _: &mut Vec<f32>) {
        let scan = self.scan;
        if self.offsets.is_empty() {
            return;
        }
        let tables = table.chunks_exact_mut(self.offsets.len());
        for ((image, row, column), pointers) in pixels(&self.region, rows.start).zip(tables) {
            if scan.rows.is_inside(row) && scan.columns.is_inside(column) {
                let origin = scan.origin(image, row, column) + self.channel as isize;
                for (pointer, offset) in pointers.iter_mut().zip(&self.offsets) {
                    *pointer = scan.values.as_ptr().wrapping_offset(origin + offset);
                }
            } else {
                let mut pointers = pointers.iter_mut();
                scan.for_each_tap(image, row, column, |_, at| {
                    if let Some(pointer) = pointers.next() {
                        *pointer = match at {
                            Some(at) => scan.values[at + self.channel..].as_ptr(),
                            None => self.zeros.as_ptr(),
                        };
                    }
                });
            }
        }
    }
}

/// The kernel rows of a box's pixels: taps of one row lie side by side where the kernel is not
/// dilated and all channels belong together, so a row is one long tap. Where a row reaches into the
/// padding it is put together.
pub(super) struct RowTaps<'a> {
    scan: &'a Scan<'a>,
    region: Region,
    /// Floats of a kernel row.
    length: usize,
    zeros: Vec<f32>,
}

impl<'a> RowTaps<'a> {
    /// Channels up to which taps are too short for a loop of their own.
    const NARROW: usize = 32;

    /// For kernels whose taps are short; `None` for others.
    pub fn new(conv: &Conv2d, scan: &'a Scan<'a>, region: Region) -> Option<Self> {
        let side_by_side = conv.groups == 1 && conv.dilation[1] == 1 && conv.kernel[1] > 1;
        let length = conv.kernel[1] * conv.in_channels;
        (side_by_side && conv.in_channels <= Self::NARROW).then(|| RowTaps {
            scan,
            region,
            length,
            zeros: vec![0.0; length],
        })
    }
}

impl Taps for RowTaps<'_> {
    fn locate(&self, rows: Range<usize>, table: &mut [*const f32], copies: &mut Vec<f32>) {
        let (scan, channels) = (self.scan, self.scan.map.channels);
        let kernel_rows = scan.rows.taps.len();
        // Copies must not move once a pointer names them.
        let of = |rows: &Range<usize>| pixels(&self.region, rows.start).take(rows.len());
        let edges = of(&rows).filter(|(_, _, column)| !scan.columns.is_inside(*column)).count();
        copies.reserve(edges * kernel_rows * self.length);
        let first = scan.columns.reach.0;
        for ((image, row, column), pointers) in of(&rows).zip(table.chunks_exact_mut(kernel_rows)) {
            let origin = scan.origin(image, row, column);
            let inside = scan.columns.is_inside(column);
            for ((_, row_offset), pointer) in scan.rows.taps.iter().zip(pointers) {
                let Some(source_row) = scan.rows.source(row, *row_offset) else {
                    *pointer = self.zeros.as_ptr();
                    continue;
                };
                if inside {
                    let pixel = row_offset * scan.map.width as isize + first;
                    let at = origin + pixel * channels as isize;
                    *pointer = scan.values.as_ptr().wrapping_offset(at);
                    continue;
                }
                let start = copies.len();
                for (_, column_offset) in &scan.columns.taps {
                    match scan.columns.source(column, *column_offset) {
                        Some(source_column) => {
                            let at = image * scan.map.elements()
                                + scan.map.index(source_row, source_column, 0);
                            copies.extend_from_slice(&scan.values[at..at + channels]);
                        }
                        None => copies.extend_from_slice(&self.zeros[..channels]),
                    }
                }
                *pointer = copies[start..].as_ptr();
            }
        }
    }
}
