//! Max pooling on the CPU, a row of one image at a time, a tile of channels at once.

use super::MaxPool;
use crate::Result;
use crate::ops::gemm::{SendPtr, for_each_task};
use crate::ops::wide::{LANES, load, store, store_or_add, wide};
use crate::ops::{Backward, Forward};
use crate::tensor::Span;

pub fn forward(pool: &MaxPool, ctx: &mut Forward<'_>) -> Result<()> {
    let window = &pool.window;
    let (x, input, map, region) = (ctx.input(0), ctx.input_map(0), ctx.output_map(), ctx.region);
    let parallel = ctx.parallel;
    // There is no room for taps where no backward pass will ask for them.
    let taps: &mut [u8] = bytemuck::cast_slice_mut(ctx.saved());
    let saves = !taps.is_empty();
    let taps = SendPtr(taps.as_mut_ptr());
    let y = SendPtr(ctx.output().as_mut_ptr());
    let row_task = |task: usize| {
        let image = region.images.start + task / region.rows.len();
        let row = region.rows.start + task % region.rows.len();
        let image_x = &x[image * input.elements()..(image + 1) * input.elements()];
        for column in region.columns.range() {
            for channel in region.channels.range().step_by(LANES) {
                let lanes = LANES.min(region.channels.end - channel);
                let mut best = [f32::NEG_INFINITY; LANES];
                let mut won = [0u32; LANES];
                let mut first = true;
                for r in 0..window.kernel[0] {
                    let Some(from_row) = window.input(0, row, r, input.height) else { continue };
                    for s in 0..window.kernel[1] {
                        let from_column = window.input(1, column, s, input.width);
                        let Some(from_column) = from_column else { continue };
                        let tap = (r * window.kernel[1] + s) as u32;
                        let values =
                            load(image_x, input.index(from_row, from_column, channel), lanes);
                        for lane in 0..LANES {
                            let value = values[lane];
                            let wins = first | (value > best[lane]) | value.is_nan();
                            best[lane] = if wins { value } else { best[lane] };
                            won[lane] = if wins { tap } else { won[lane] };
                        }
                        first = false;
                    }
                }
                let at = image * map.elements() + map.index(row, column, channel);
                // SAFETY: `lanes` elements of this task's row; taps are as many as outputs.
                unsafe {
                    store(y.get().add(at), &best, lanes);
                    if saves {
                        store(taps.get().add(at), &won.map(|tap| tap as u8), lanes);
                    }
                }
            }
        }
    };
    for_each_task(parallel, region.images.len() * region.rows.len(), |task| {
        wide(|| row_task(task));
    });
    Ok(())
}

/// dx\[q, c\] = Σ dy\[p, c\] over the windows p that q won.
pub fn backward(pool: &MaxPool, ctx: &mut Backward<'_>) -> Result<()> {
    let Some((dx, accumulate)) = ctx.input_gradient(0) else { return Ok(()) };
    let window = &pool.window;
    let (input, map) = (ctx.input_map(0), ctx.output_map());
    let (taps, dy): (&[u8], _) = (bytemuck::cast_slice(ctx.saved()), ctx.output_gradient());
    let dx = SendPtr(dx.as_mut_ptr());
    let row_task = |task: usize| {
        let (image, row) = (task / input.height, task % input.height);
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
                        let values = load(dy, at, lanes);
                        let mut won = [0u8; LANES];
                        won[..lanes].copy_from_slice(&taps[at..at + lanes]);
                        for lane in 0..LANES {
                            sum[lane] += if won[lane] == tap { values[lane] } else { 0.0 };
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
    Ok(())
}
