//! Convolution on the CPU: implicit GEMM on channels-last data, nothing is written but results.

use super::{Conv2d, depthwise, depthwise_tiles};
use crate::Result;
use crate::ops::gemm::{Gather, Outer, SendPtr, for_each_task, gather, outer};
use crate::ops::{Backward, Forward};
use crate::tensor::{Map, Region, Span};

/// The input pixel under a kernel tap: `None` in the padding.
fn tap_input(conv: &Conv2d, axis: usize, output: usize, tap: usize, size: usize) -> Option<usize> {
    (output * conv.stride[axis] + tap * conv.dilation[axis])
        .checked_sub(conv.padding[axis])
        .filter(|at| *at < size)
}

/// Pixel number `m` of a box: image, row, column.
fn pixel(region: &Region, m: usize) -> (usize, usize, usize) {
    let (rows, columns) = (region.rows.len(), region.columns.len());
    let image = m / (rows * columns);
    let rest = m % (rows * columns);
    (
        region.images.start + image,
        region.rows.start + rest / columns,
        region.columns.start + rest % columns,
    )
}

pub fn forward(conv: &Conv2d, ctx: &mut Forward<'_>) -> Result<()> {
    let (x, weight) = (ctx.input(0), ctx.param(0));
    let bias = conv.bias.then(|| ctx.param(1));
    let (input, map, region) = (ctx.input_map(0), ctx.output_map(), ctx.region);
    let parallel = ctx.parallel;
    let y = ctx.output();
    let depth = conv.group_inputs();
    let zeros = vec![0f32; depth];
    let b_rows: Vec<usize> = (0..conv.taps()).map(|tap| tap * depth).collect();
    let base = SendPtr(y.as_mut_ptr());
    // What follows a row's sums; `part` starts at a channel of the output.
    let finish = |_: usize, channel: usize, part: &mut [f32]| {
        if let Some(bias) = bias {
            for (value, bias) in part.iter_mut().zip(&bias[channel..]) {
                *value += bias;
            }
        }
    };
    if depthwise::applies(conv) {
        let kernels = depthwise_tiles::kernels();
        let (x, y) = ((x, input), (base, map));
        // SAFETY: the output holds every image of the box.
        unsafe { depthwise::forward(kernels, conv, x, weight, y, region, parallel, finish) };
    }
    for group in 0..if depthwise::applies(conv) { 0 } else { conv.groups } {
        let of_group = Span::new(group * conv.group_outputs(), (group + 1) * conv.group_outputs());
        let channels = Span::new(
            region.channels.start.max(of_group.start),
            region.channels.end.min(of_group.end),
        );
        if channels.is_empty() {
            continue;
        }
        let product = Gather {
            rows: region.images.len() * region.rows.len() * region.columns.len(),
            b_rows: &b_rows,
            depth,
            pointers: |m: usize, out: &mut [*const f32]| {
                let (image, row, column) = pixel(&region, m);
                let image = &x[image * input.elements()..];
                let mut taps = out.iter_mut();
                for r in 0..conv.kernel[0] {
                    let row = tap_input(conv, 0, row, r, input.height);
                    for (s, pointer) in (0..conv.kernel[1]).zip(&mut taps) {
                        let column = tap_input(conv, 1, column, s, input.width);
                        *pointer = match (row, column) {
                            (Some(row), Some(column)) => {
                                image[input.index(row, column, group * depth)..].as_ptr()
                            }
                            _ => zeros.as_ptr(),
                        };
                    }
                }
            },
            b: &weight[channels.start..],
            ldb: conv.out_channels,
            columns: channels.len(),
            accumulate: false,
            parallel,
        };
        let output = |m: usize| {
            let (image, row, column) = pixel(&region, m);
            let offset = image * map.elements() + map.index(row, column, channels.start);
            // SAFETY: the box lies within the output.
            unsafe { base.get().add(offset) }
        };
        let finish = |m: usize, column: usize, part: &mut [f32]| {
            finish(m, channels.start + column, part);
        };
        // SAFETY: taps hold `depth` floats each (input or zeros); rows of the box are disjoint.
        unsafe { gather(&product, output, finish) };
    }
    if let Some(faults) = ctx.faults {
        faults.table.apply(y, map, region);
    }
    Ok(())
}

pub fn backward(conv: &Conv2d, ctx: &mut Backward<'_>) -> Result<()> {
    weight_gradient(conv, ctx);
    bias_gradient(conv, ctx);
    input_gradient(conv, ctx);
    Ok(())
}

/// dw\[(tap, c), o\] = Σ_pixels x\[tap of pixel, c\] · dy\[pixel, o\].
fn weight_gradient(conv: &Conv2d, ctx: &mut Backward<'_>) {
    let Some((dw, accumulate)) = ctx.param_gradient(0) else { return };
    let (x, dy) = (ctx.input(0), ctx.output_gradient());
    let (input, map) = (ctx.input_map(0), ctx.output_map());
    if depthwise::applies(conv) {
        let kernels = depthwise_tiles::kernels();
        let (x, dy) = ((x, input), (dy, map));
        return depthwise::weight_gradient(kernels, conv, x, dw, dy, ctx.images(), accumulate);
    }
    let region = Region::full(ctx.images(), map);
    let depth = conv.group_inputs();
    let zeros = vec![0f32; depth];
    for group in 0..conv.groups {
        let product = Outer {
            pixels: ctx.images() * map.pixels(),
            taps: conv.taps(),
            depth,
            pointer: |tap: usize, m: usize| {
                let (image, row, column) = pixel(&region, m);
                let row = tap_input(conv, 0, row, tap / conv.kernel[1], input.height);
                let column = tap_input(conv, 1, column, tap % conv.kernel[1], input.width);
                match (row, column) {
                    (Some(row), Some(column)) => {
                        let at = image * input.elements() + input.index(row, column, group * depth);
                        x[at..].as_ptr()
                    }
                    _ => zeros.as_ptr(),
                }
            },
            b: &dy[group * conv.group_outputs()..],
            ldb: conv.out_channels,
            columns: conv.group_outputs(),
            ldc: conv.out_channels,
            accumulate,
            parallel: true,
        };
        let first = SendPtr(dw[group * conv.group_outputs()..].as_mut_ptr());
        // SAFETY: taps hold `depth` floats each; dw holds every row of the group's columns.
        unsafe { outer(&product, first) };
    }
}

/// db\[o\] = Σ_pixels dy\[pixel, o\].
fn bias_gradient(conv: &Conv2d, ctx: &mut Backward<'_>) {
    if !conv.bias {
        return;
    }
    let Some((db, accumulate)) = ctx.param_gradient(1) else { return };
    let dy = ctx.output_gradient();
    if !accumulate {
        db.fill(0.0);
    }
    for pixel in dy.chunks_exact(conv.out_channels).take(ctx.images() * ctx.output_map().pixels()) {
        for (sum, value) in db.iter_mut().zip(pixel) {
            *sum += value;
        }
    }
}

/// dx\[q, c\] = Σ_{tap, o} dy\[p, o\] · w\[tap, c, o\] over the pixels p whose tap reads q. Input pixels
/// whose row and column leave the same remainder by the stride are read by the same taps, so each
/// such phase is one product.
fn input_gradient(conv: &Conv2d, ctx: &mut Backward<'_>) {
    let Some((dx, accumulate)) = ctx.input_gradient(0) else { return };
    let (weight, dy) = (ctx.param(0), ctx.output_gradient());
    let (input, map) = (ctx.input_map(0), ctx.output_map());
    let images = ctx.images();
    if depthwise::applies(conv) {
        let kernels = depthwise_tiles::kernels();
        let (dx, dy) = ((dx, input), (dy, map));
        return depthwise::input_gradient(kernels, conv, dx, weight, dy, images, accumulate);
    }
    let transposed = &mut ctx.workspace()[..conv.terms() * conv.out_channels];
    transpose_weights(conv, weight, transposed);
    let (depth, columns) = (conv.group_outputs(), conv.group_inputs());
    let zeros = vec![0f32; depth];
    let base = SendPtr(dx.as_mut_ptr());
    for phase in 0..conv.stride[0] * conv.stride[1] {
        let phase = [phase / conv.stride[1], phase % conv.stride[1]];
        let taps: Vec<(usize, usize)> = (0..conv.taps())
            .map(|tap| (tap / conv.kernel[1], tap % conv.kernel[1]))
            .filter(|(r, s)| reads(conv, 0, phase[0], *r) && reads(conv, 1, phase[1], *s))
            .collect();
        let rows = input.height.saturating_sub(phase[0]).div_ceil(conv.stride[0]);
        let width = input.width.saturating_sub(phase[1]).div_ceil(conv.stride[1]);
        let of_phase = Region::full(images, Map::new(rows, width, input.channels));
        let at = |m: usize| {
            let (image, row, column) = pixel(&of_phase, m);
            (image, row * conv.stride[0] + phase[0], column * conv.stride[1] + phase[1])
        };
        for group in 0..conv.groups {
            let group_base = group * conv.taps() * depth;
            let b_rows: Vec<usize> =
                taps.iter().map(|(r, s)| group_base + (r * conv.kernel[1] + s) * depth).collect();
            let product = Gather {
                rows: images * rows * width,
                b_rows: &b_rows,
                depth,
                pointers: |m: usize, out: &mut [*const f32]| {
                    let (image, row, column) = at(m);
                    let image = &dy[image * map.elements()..];
                    for ((r, s), pointer) in taps.iter().zip(out) {
                        let row = tap_output(conv, 0, row, *r, map.height);
                        let column = tap_output(conv, 1, column, *s, map.width);
                        *pointer = match (row, column) {
                            (Some(row), Some(column)) => {
                                image[map.index(row, column, group * depth)..].as_ptr()
                            }
                            _ => zeros.as_ptr(),
                        };
                    }
                },
                b: transposed,
                ldb: columns,
                columns,
                accumulate,
                parallel: true,
            };
            let output = |m: usize| {
                let (image, row, column) = at(m);
                let offset = image * input.elements() + input.index(row, column, group * columns);
                // SAFETY: a pixel of the input.
                unsafe { base.get().add(offset) }
            };
            // SAFETY: taps hold `depth` floats each; pixels of a phase are disjoint.
            unsafe { gather(&product, output, |_, _, _| {}) };
        }
    }
}

/// Whether tap `tap` can read an input position that leaves `phase` by the stride.
fn reads(conv: &Conv2d, axis: usize, phase: usize, tap: usize) -> bool {
    let stride = conv.stride[axis];
    (phase + conv.padding[axis]) % stride == (tap * conv.dilation[axis]) % stride
}

/// The output position whose tap reads `input`: `None` outside.
fn tap_output(conv: &Conv2d, axis: usize, input: usize, tap: usize, size: usize) -> Option<usize> {
    (input + conv.padding[axis])
        .checked_sub(tap * conv.dilation[axis])
        .map(|at| at / conv.stride[axis])
        .filter(|at| *at < size)
}

/// (tap, C/groups, O) to (group, tap, O/groups, C/groups).
fn transpose_weights(conv: &Conv2d, weight: &[f32], transposed: &mut [f32]) {
    let (depth, columns) = (conv.group_outputs(), conv.group_inputs());
    let base = SendPtr(transposed.as_mut_ptr());
    for_each_task(true, conv.groups * conv.taps(), |task| {
        let (group, tap) = (task / conv.taps(), task % conv.taps());
        // SAFETY: each task writes its own block of the transposed weights.
        let block = unsafe {
            std::slice::from_raw_parts_mut(base.get().add(task * depth * columns), depth * columns)
        };
        const TILE: usize = 16;
        for c0 in (0..columns).step_by(TILE) {
            for o0 in (0..depth).step_by(TILE) {
                for c in c0..columns.min(c0 + TILE) {
                    let row = &weight[(tap * columns + c) * conv.out_channels + group * depth..];
                    for o in o0..depth.min(o0 + TILE) {
                        block[o * columns + c] = row[o];
                    }
                }
            }
        }
    });
}
