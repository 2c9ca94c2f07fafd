//! Max pooling on the CPU, a row of one image at a time, a tile of channels at once.

use super::MaxPool;
use crate::Result;
use crate::cpu::gemm::SendPtr;
use crate::cpu::wide::{LANES, Pieces, for_each_piece, load, store, store_or_add};
use crate::ops::window::Window;
use crate::ops::{HostBackward, HostForward};
use crate::tensor::{Map, Region, Span};

/// Rows of a box of the output.
struct OutputRows<'a> {
    window: Window,
    input: Map,
    map: Map,
    region: Region,
    x: &'a [f32],
    y: SendPtr<f32>,
    taps: SendPtr<u8>,
    saves: bool,
}

impl Pieces for OutputRows<'_> {
    #[inline(always)]
    fn run(&self, piece: usize) {
        let OutputRows { window, input, map, region, .. } = self;
        let image = region.images.start + piece / region.rows.len();
        let row = region.rows.start + piece % region.rows.len();
        let x = &self.x[image * input.elements()..(image + 1) * input.elements()];
        let down = window.taps_within(0, row, input.height);
        for column in region.columns.range() {
            let across = window.taps_within(1, column, input.width);
            let tap_of = |r: usize, s: usize| (r * window.kernel[1] + s) as u32;
            let from = |axis: usize, output: usize, tap: usize| {
                output * window.stride[axis] + tap * window.dilation[axis] - window.padding[axis]
            };
            for channel in region.channels.range().step_by(LANES) {
                let lanes = LANES.min(region.channels.end - channel);
                let mut best = [f32::NEG_INFINITY; LANES];
                // Where nothing is above −∞, the first tap within the map has won.
                let mut won = [tap_of(down.start, across.start); LANES];
                for r in down.clone() {
                    for s in across.clone() {
                        let (tap, pixel) = (tap_of(r, s), [from(0, row, r), from(1, column, s)]);
                        let values = load(x, input.index(pixel[0], pixel[1], channel), lanes);
                        let mut wins = [0u32; LANES];
                        for lane in 0..LANES {
                            let above = (values[lane] > best[lane]) | values[lane].is_nan();
                            wins[lane] = u32::from(above).wrapping_neg();
                        }
                        // Selected by bits, which compiles to vectors where `if` does not.
                        for lane in 0..LANES {
                            let (new, old) = (values[lane].to_bits(), best[lane].to_bits());
                            best[lane] = f32::from_bits(old ^ ((old ^ new) & wins[lane]));
                        }
                        if self.saves {
                            for lane in 0..LANES {
                                won[lane] ^= (won[lane] ^ tap) & wins[lane];
                            }
                        }
                    }
                }
                let at = image * map.elements() + map.index(row, column, channel);
                // SAFETY: `lanes` elements of this piece's row; taps are as many as outputs.
                unsafe {
                    store(self.y.get().add(at), &best, lanes);
                    if self.saves {
                        let mut bytes = [0u8; LANES];
                        for lane in 0..LANES {
                            bytes[lane] = won[lane] as u8;
                        }
                        store(self.taps.get().add(at), &bytes, lanes);
                    }
                }
            }
        }
    }
}

pub fn forward(pool: &MaxPool, ctx: &mut HostForward<'_>) -> Result<()> {
    // There is no room for taps where no backward pass will ask for them.
    let taps: &mut [u8] = bytemuck::cast_slice_mut(ctx.saved());
    let region = ctx.region;
    let rows = OutputRows {
        window: pool.window,
        input: ctx.input_map(0),
        map: ctx.output_map(),
        region,
        x: ctx.input(0),
        y: SendPtr(ctx.output().as_mut_ptr()),
        saves: !taps.is_empty(),
        taps: SendPtr(taps.as_mut_ptr()),
    };
    for_each_piece(ctx.parallel, region.images.len() * region.rows.len(), &rows);
    Ok(())
}

/// Rows of the input's gradient: dx\[q, c\] = Σ dy\[p, c\] over the windows p that q won.
struct InputRows<'a> {
    window: Window,
    input: Map,
    map: Map,
    taps: &'a [u8],
    dy: &'a [f32],
    dx: SendPtr<f32>,
    accumulate: bool,
}

impl Pieces for InputRows<'_> {
    #[inline(always)]
    fn run(&self, piece: usize) {
        let InputRows { window, input, map, taps, dy, .. } = self;
        let (image, row) = (piece / input.height, piece % input.height);
        let rows = window.readers(0, Span::one(row), map.height);
        for column in 0..input.width {
            let columns = window.readers(1, Span::one(column), map.width);
            for channel in (0..input.channels).step_by(LANES) {
                let lanes = LANES.min(input.channels - channel);
                let mut sum = [0f32; LANES];
                for reader_row in rows.range() {
                    let Some(r) = window.tap(0, reader_row, row) else { continue };
                    for reader_column in columns.range() {
                        let Some(s) = window.tap(1, reader_column, column) else { continue };
                        let tap = (r * window.kernel[1] + s) as u8;
                        let at =
                            image * map.elements() + map.index(reader_row, reader_column, channel);
                        let (values, won) = (load(dy, at, lanes), load(taps, at, lanes));
                        for lane in 0..LANES {
                            sum[lane] += if won[lane] == tap { values[lane] } else { 0.0 };
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

pub fn backward(pool: &MaxPool, ctx: &mut HostBackward<'_>) -> Result<()> {
    let Some((dx, accumulate)) = ctx.input_gradient(0) else { return Ok(()) };
    let rows = InputRows {
        window: pool.window,
        input: ctx.input_map(0),
        map: ctx.output_map(),
        taps: bytemuck::cast_slice(ctx.saved()),
        dy: ctx.output_gradient(),
        dx: SendPtr(dx.as_mut_ptr()),
        accumulate,
    };
    for_each_piece(true, ctx.images() * rows.input.height, &rows);
    Ok(())
}
