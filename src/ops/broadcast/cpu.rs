//! Arithmetic with a parameter that is broadcast, on the CPU.

use super::{Broadcast, BroadcastBy, SpreadAxis};
use crate::Result;
use crate::cpu::gemm::{SendPtr, for_each_task};
use crate::ops::pixels::{self, EachPixel};
use crate::ops::{HostBackward, HostForward, elementwise};
use crate::tensor::{Map, Region};

/// y (+)= x + t or x · t over a box.
struct BroadcastPixels<'a> {
    op: &'a Broadcast,
    map: Map,
    axes: [SpreadAxis; 3],
    /// The first channel of the box.
    start: usize,
    x: &'a [f32],
    table: &'a [f32],
    accumulate: bool,
}

impl EachPixel for BroadcastPixels<'_> {
    const AVX512: bool = true;

    #[inline(always)]
    fn of(&self, image: usize, row: usize, column: usize, y: &mut [f32]) {
        let [rows, columns, _] = self.axes;
        let at = image * self.map.elements() + self.map.index(row, column, self.start);
        let x = &self.x[at..at + y.len()];
        let first = self.op.table.index(rows.of(row), columns.of(column), 0);
        let table = &self.table[first..first + self.op.table.channels];
        match self.op.by {
            BroadcastBy::Add => self.pixel(x, table, y, |x, t| x + t),
            BroadcastBy::Multiply => self.pixel(x, table, y, |x, t| x * t),
        }
    }
}

impl BroadcastPixels<'_> {
    #[inline(always)]
    fn pixel(&self, x: &[f32], table: &[f32], y: &mut [f32], f: impl Fn(f32, f32) -> f32) {
        let [_, _, channels] = self.axes;
        let start = self.start;
        let store = |y: &mut f32, value: f32| *y = if self.accumulate { *y + value } else { value };
        if channels.is_one_to_one() {
            let terms = y.iter_mut().zip(x).zip(&table[start..]);
            terms.for_each(|((y, x), t)| store(y, f(*x, *t)));
        } else if let [t] = *table {
            y.iter_mut().zip(x).for_each(|(y, x)| store(y, f(*x, t)));
        } else {
            for (at, (y, x)) in y.iter_mut().zip(x).enumerate() {
                store(y, f(*x, table[channels.of(start + at)]));
            }
        }
    }
}

pub fn forward(op: &Broadcast, ctx: &mut HostForward<'_>) -> Result<()> {
    let (map, y) = (ctx.output_map(), ctx.output());
    let (axes, start) = (op.axes(map), ctx.region.channels.start);
    let (x, table) = (ctx.input(0), ctx.param(0));
    let work = BroadcastPixels { op, map, axes, start, x, table, accumulate: false };
    pixels::forward(ctx, y, &work);
    Ok(())
}

/// dx = dy or dy · t; dt = Σ dy or Σ dy · x over what reads it: images, then rows, columns and channels, in f64.
pub fn backward(op: &Broadcast, ctx: &mut HostBackward<'_>) -> Result<()> {
    let (map, images, dy) = (ctx.output_map(), ctx.images(), ctx.output_gradient());
    let axes = op.axes(map);
    if op.by == BroadcastBy::Add {
        elementwise::backward(ctx, 0, dy, |_, dy| dy);
    } else if let Some((dx, accumulate)) = ctx.input_gradient(0) {
        let (table, region) = (ctx.param(0), Region::full(images, map));
        let work = BroadcastPixels { op, map, axes, start: 0, x: dy, table, accumulate };
        pixels::write(dx, map, region, true, &work);
    }
    let Some((dt, accumulate)) = ctx.param_gradient(0) else { return Ok(()) };
    let x = (op.by == BroadcastBy::Multiply).then(|| ctx.input(0));
    let dt = SendPtr(dt.as_mut_ptr());
    let [rows, columns, channels] = axes;
    for_each_task(true, op.table.pixels(), |pixel| {
        let (table_row, table_column) = (pixel / op.table.width, pixel % op.table.width);
        for table_channel in 0..op.table.channels {
            let mut sum = 0f64;
            for image in 0..images {
                for row in rows.readers(table_row) {
                    for column in columns.readers(table_column) {
                        let first = image * map.elements() + map.index(row, column, 0);
                        for channel in channels.readers(table_channel) {
                            let factor = x.map_or(1.0, |x| f64::from(x[first + channel]));
                            sum += f64::from(dy[first + channel]) * factor;
                        }
                    }
                }
            }
            // SAFETY: this task's pixel of the gradient.
            let to = unsafe { &mut *dt.get().add(pixel * op.table.channels + table_channel) };
            *to = sum as f32 + if accumulate { *to } else { 0.0 };
        }
    });
    Ok(())
}
