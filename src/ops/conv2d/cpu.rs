//! Convolution on the CPU: implicit GEMM on channels-last data, nothing is written but results.

use super::scan::{PixelTaps, RowTaps, Scan, pixel};
use super::{Conv2d, depthwise, depthwise_tiles};
use crate::Result;
use crate::cpu::gemm::{
    AsIs, Finish, ImplicitGemm, SendPtr, Taps, WeightGradGemm, for_each_task, gather, outer,
};
use crate::ops::epilogue::Epilogue;
use crate::ops::{HostBackward, HostForward, pixels};
use crate::tensor::{Map, Region, Span};

pub fn forward(conv: &Conv2d, ctx: &mut HostForward<'_>) -> Result<()> {
    let y = ctx.output();
    let bias = conv.bias.then(|| conv.effective_bias(ctx.param(1)));
    let steps = ctx.steps();
    let faults = ctx.faults.map(|faults| faults.table);
    let output = (SendPtr(y.as_mut_ptr()), ctx.output_map());
    let epilogue = Epilogue::new(bias.as_deref(), faults, &steps, output);
    sums(conv, ctx, y, epilogue);
    Ok(())
}

/// The sums of the box to `y`. `finish` is called once for each part of an output pixel's channels
/// when its sums are complete; rows count the pixels of the box, columns are channels of the output.
fn sums(conv: &Conv2d, ctx: &HostForward<'_>, y: &mut [f32], finish: impl Finish) {
    let (x, weight) = (ctx.input(0), ctx.param(0));
    let (input, map, region) = (ctx.input_map(0), ctx.output_map(), ctx.region);
    pixels::require_box(y, map, region);
    let y = SendPtr(y.as_mut_ptr());
    let scan = Scan::forward(conv, x, input);
    if depthwise::applies(conv) {
        let kernels = depthwise_tiles::kernels();
        // SAFETY: the box lies within the output, which is borrowed.
        unsafe {
            depthwise::forward(kernels, &scan, weight, (y, map), region, ctx.parallel, finish);
        }
        return;
    }
    let packed = ctx.packed;
    let product = Product { weight, packed, conv, y, map, region, parallel: ctx.parallel };
    let depth = conv.group_inputs();
    if let Some(taps) = RowTaps::new(conv, &scan, region) {
        product.run(region.channels, conv.kernel[1] * depth, taps, &finish);
        return;
    }
    for group in 0..conv.groups {
        let of_group = Span::new(group * conv.group_outputs(), (group + 1) * conv.group_outputs());
        let channels = Span::new(
            region.channels.start.max(of_group.start),
            region.channels.end.min(of_group.end),
        );
        if channels.is_empty() {
            continue;
        }
        if one_to_one(conv, &region, map) {
            let first = region.images.start * input.pixels();
            let taps = |m: usize, pointers: &mut [*const f32]| {
                pointers[0] = x[(first + m) * conv.in_channels + group * depth..].as_ptr();
            };
            product.run(channels, depth, taps, &finish);
        } else {
            let taps = PixelTaps::new(&scan, region, group * depth, depth);
            product.run(channels, depth, taps, &finish);
        }
    }
}

/// Whether pixel m of the box reads pixel m of its images: a kernel of 1×1 over whole maps.
fn one_to_one(conv: &Conv2d, region: &Region, map: Map) -> bool {
    conv.taps() == 1 && conv.stride == [1; 2] && conv.padding == [0; 2] && is_whole(region, map)
}

/// Whether the box takes all pixels of its images.
fn is_whole(region: &Region, map: Map) -> bool {
    region.rows == Span::all(map.height) && region.columns == Span::all(map.width)
}

/// Passes finished sums on to `finish`, with `by` added to their column: for products of one group's columns.
struct Shifted<'a, F> {
    finish: &'a F,
    by: usize,
}

impl<F: Finish> Finish for Shifted<'_, F> {
    #[inline(always)]
    fn finish(&self, m: usize, column: usize, part: &mut [f32]) {
        self.finish.finish(m, self.by + column, part);
    }
}

/// What the products of a forward pass share.
struct Product<'a> {
    conv: &'a Conv2d,
    weight: &'a [f32],
    packed: Option<&'a [f32]>,
    y: SendPtr<f32>,
    map: Map,
    region: Region,
    parallel: bool,
}

impl Product<'_> {
    /// The sums of `channels`, all of one group, over taps of `depth` floats.
    fn run(&self, channels: Span, depth: usize, taps: impl Taps, finish: &impl Finish) {
        let (map, region) = (self.map, self.region);
        let b_rows: Vec<usize> = (0..self.conv.terms()).step_by(depth).collect();
        let product = ImplicitGemm {
            rows: region.images.len() * region.rows.len() * region.columns.len(),
            b_rows: &b_rows,
            depth,
            pointers: taps,
            b: &self.weight[channels.start..],
            ldb: self.conv.out_channels,
            columns: channels.len(),
            packed: self.packed.filter(|_| channels == Span::all(self.conv.out_channels)),
            accumulate: false,
            parallel: self.parallel,
        };
        let (whole, first) = (is_whole(&region, map), region.images.start * map.pixels());
        let output = |m: usize| {
            let pixel = if whole {
                first + m
            } else {
                let (image, row, column) = pixel(&region, m);
                image * map.pixels() + row * map.width + column
            };
            // SAFETY: the box lies within the output.
            unsafe { self.y.get().add(pixel * map.channels + channels.start) }
        };
        let finish = Shifted { finish, by: channels.start };
        // SAFETY: taps hold `depth` floats each (input or zeros); rows of the box are disjoint.
        unsafe { gather(&product, output, finish) };
    }
}

pub fn backward(conv: &Conv2d, ctx: &mut HostBackward<'_>) -> Result<()> {
    weight_gradient(conv, ctx);
    bias_gradient(conv, ctx);
    input_gradient(conv, ctx);
    Ok(())
}

/// dw\[(tap, c), o\] = Σ_pixels x\[tap of pixel, c\] · dy\[pixel, o\].
fn weight_gradient(conv: &Conv2d, ctx: &mut HostBackward<'_>) {
    let Some((dw, accumulate)) = ctx.param_gradient(0) else { return };
    let (x, dy) = (ctx.input(0), ctx.output_gradient());
    let (input, map, images) = (ctx.input_map(0), ctx.output_map(), ctx.images());
    let scan = Scan::forward(conv, x, input);
    if depthwise::applies(conv) {
        let kernels = depthwise_tiles::kernels();
        depthwise::weight_gradient(kernels, &scan, dw, (dy, map), images, accumulate);
        return;
    }
    let region = Region::full(images, map);
    let depth = conv.group_inputs();
    let mut run = |group: usize, taps: usize, depth: usize, pointers: &dyn Taps| {
        let product = WeightGradGemm {
            pixels: images * map.pixels(),
            taps,
            depth,
            pointers,
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
    };
    if let Some(taps) = RowTaps::new(conv, &scan, region) {
        run(0, conv.kernel[0], conv.kernel[1] * depth, &taps);
        return;
    }
    for group in 0..conv.groups {
        run(group, conv.taps(), depth, &PixelTaps::new(&scan, region, group * depth, depth));
    }
}

/// db\[o\] = Σ_pixels dy\[pixel, o\].
fn bias_gradient(conv: &Conv2d, ctx: &mut HostBackward<'_>) {
    if !conv.bias {
        return;
    }
    let Some((db, accumulate)) = ctx.param_gradient(1) else { return };
    let dy = ctx.output_gradient();
    if !accumulate {
        db.fill(0.0);
    }
    let Span { start, end } = conv.silent_bias;
    for pixel in dy.chunks_exact(conv.out_channels).take(ctx.images() * ctx.output_map().pixels()) {
        for heard in [0..start, end..conv.out_channels] {
            for (sum, value) in db[heard.clone()].iter_mut().zip(&pixel[heard]) {
                *sum += value;
            }
        }
    }
}

/// dx\[q, c\] = Σ_{tap, o} dy\[p, o\] · w\[tap, c, o\] over the pixels p whose tap reads q. Input pixels
/// whose row and column leave the same remainder by the stride are read by the same taps, so each
/// such phase is one product.
fn input_gradient(conv: &Conv2d, ctx: &mut HostBackward<'_>) {
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
    let base = SendPtr(dx.as_mut_ptr());
    for phase in 0..conv.stride[0] * conv.stride[1] {
        let phase = [phase / conv.stride[1], phase % conv.stride[1]];
        let scan = Scan::gradient(conv, phase, dy, map);
        let rows = input.height.saturating_sub(phase[0]).div_ceil(conv.stride[0]);
        let width = input.width.saturating_sub(phase[1]).div_ceil(conv.stride[1]);
        let of_phase = Region::full(images, Map::new(rows, width, input.channels));
        for group in 0..conv.groups {
            let group_base = group * conv.taps() * depth;
            let b_rows: Vec<usize> =
                scan.numbers().map(|number| group_base + number * depth).collect();
            let product = ImplicitGemm {
                rows: images * rows * width,
                b_rows: &b_rows,
                depth,
                pointers: PixelTaps::new(&scan, of_phase, group * depth, depth),
                b: transposed,
                ldb: columns,
                columns,
                packed: None,
                accumulate,
                parallel: true,
            };
            let output = |m: usize| {
                let (image, row, column) = pixel(&of_phase, m);
                let (row, column) =
                    (row * conv.stride[0] + phase[0], column * conv.stride[1] + phase[1]);
                let offset = image * input.elements() + input.index(row, column, group * columns);
                // SAFETY: a pixel of the input.
                unsafe { base.get().add(offset) }
            };
            // SAFETY: taps hold `depth` floats each; pixels of a phase are disjoint.
            unsafe { gather(&product, output, AsIs) };
        }
    }
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
