//! Depthwise convolution on the CPU: every channel is a group of its own, so there is nothing to
//! multiply matrices for. Channels are vectors; a block of output columns stays in registers while
//! the taps pass by. Chains are those of the general path: taps in order, padding as zeros.

use super::Conv2d;
use super::depthwise_tiles::{Kernels, ResultBlock, SUMS, Sums, Tap};
use super::scan::Scan;
use crate::cpu::gemm::{AsIs, Finish, SendPtr, for_each_task};
use crate::cpu::wide::wide;
use crate::tensor::{Map, Region, Span};

/// Whether `conv` is depthwise with as many outputs as inputs.
pub(super) fn applies(conv: &Conv2d) -> bool {
    conv.groups == conv.in_channels && conv.groups == conv.out_channels
}

/// The taps of a result and those that follow it in its row.
fn taps(
    scan: &Scan<'_>,
    image: usize,
    row: usize,
    column: usize,
    zeros: &[f32],
    taps: &mut Vec<Tap>,
) {
    taps.clear();
    let step = scan.columns.step as usize * scan.map.channels;
    scan.for_each_tap(image, row, column, |number, at| {
        let (x, step) = match at {
            Some(at) => (scan.values[at..].as_ptr(), step),
            None => (zeros.as_ptr(), 0),
        };
        taps.push(Tap { x, step, number });
    });
}

/// `columns` in order, in runs that one list of taps serves: all that lie inside, and each of the
/// others.
fn runs(scan: &Scan<'_>, columns: Span) -> Vec<Span> {
    let inside = scan.columns.inside(columns);
    let mut runs: Vec<Span> = (columns.start..inside.start).map(Span::one).collect();
    if !inside.is_empty() {
        runs.push(inside);
    }
    runs.extend((inside.end..columns.end).map(Span::one));
    runs
}

/// Refuses what taps of a scan's results would read or write beyond: the source, of `images`, and `weight`, which
/// has `channels` of the source's for each tap.
fn check(scan: &Scan<'_>, images: usize, weight: &[f32], channels: usize) {
    let source = images.checked_mul(scan.map.elements());
    assert!(source.is_some_and(|count| count <= scan.values.len()), "the source has fewer images");
    let last_tap = scan.numbers().max();
    let weights = last_tap.map_or(0, |tap| (tap + 1) * scan.map.channels);
    assert!(weights <= weight.len() && channels <= scan.map.channels, "taps without weights");
}

/// Where results lie: `base` + image·`image` + row·`row` + column·`column` floats, channels
/// contiguous.
#[derive(Clone, Copy)]
struct Strides {
    image: usize,
    row: usize,
    column: usize,
}

/// Computes the results of `region`, on top of what is there if `load`. `finish` is called once
/// for each part of a result's channels when its sums are complete; rows count the pixels of the
/// region, columns are channels.
///
/// # Panics
/// Where the source hasn't the region's images and channels, or `weight` not all taps.
///
/// # Safety
/// `base` and `strides` describe writable results for all of `region`, initialised if `load`, which nobody else uses;
/// no two results are one.
#[allow(clippy::too_many_arguments)]
unsafe fn scan(
    kernels: &Kernels,
    scan: &Scan<'_>,
    weight: &[f32],
    region: Region,
    (base, strides): (SendPtr<f32>, Strides),
    load: bool,
    parallel: bool,
    finish: impl Finish,
) {
    check(scan, region.images.end, weight, region.channels.end);
    let channels = scan.map.channels;
    let rows = region.rows.len();
    // What padding taps read.
    let zeros = vec![0f32; channels];
    let runs = runs(scan, region.columns);
    for_each_task(parallel, region.images.len() * rows, |task| {
        let (image, row) = (region.images.start + task / rows, region.rows.start + task % rows);
        let mut list = Vec::with_capacity(scan.taps());
        for run in &runs {
            taps(scan, image, row, run.start, &zeros, &mut list);
            for first in run.range().step_by(kernels.columns) {
                let columns = kernels.columns.min(run.end - first);
                let offset = image * strides.image + row * strides.row + first * strides.column;
                for channel in region.channels.range().step_by(kernels.channels()) {
                    let part = kernels.channels().min(region.channels.end - channel);
                    let vectors = part.div_ceil(kernels.lanes);
                    // SAFETY: a row of the region.
                    let y = unsafe { base.get().add(offset + channel) };
                    let block = ResultBlock {
                        taps: &list,
                        skip: first - run.start,
                        weight: weight[channel..].as_ptr(),
                        channels,
                        channel,
                        y,
                        y_step: strides.column,
                        last: part - (vectors - 1) * kernels.lanes,
                        load,
                    };
                    // SAFETY: taps lie within the source or the zeros, for every column of a run, and `weight` has
                    // all of them, as `check` found; the results are the caller's.
                    unsafe { kernels.blocks[columns - 1][vectors - 1](&block) };
                    let m = task * region.columns.len() + first - region.columns.start;
                    wide(|| {
                        for column in 0..columns {
                            // SAFETY: stored by the kernel just now, this task's own.
                            let values = unsafe {
                                std::slice::from_raw_parts_mut(y.add(column * strides.column), part)
                            };
                            finish.finish(m + column, channel, values);
                        }
                    });
                }
            }
        }
    });
}

/// The outputs of `region`; `finish` as in [`scan`].
///
/// # Panics
/// As [`scan`].
///
/// # Safety
/// `y` holds outputs of map `map` for every image of the region, which lies within the map, and nobody else uses them.
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn forward(
    kernels: &Kernels,
    source: &Scan<'_>,
    weight: &[f32],
    (y, map): (SendPtr<f32>, Map),
    region: Region,
    parallel: bool,
    finish: impl Finish,
) {
    let strides =
        Strides { image: map.elements(), row: map.width * map.channels, column: map.channels };
    // SAFETY: the caller's: where a region's results lie in their maps.
    unsafe { scan(kernels, source, weight, region, (y, strides), false, parallel, finish) };
}

/// dx\[q, c\] = Σ_tap dy\[p, c\] · w\[tap, c\] over the pixels p whose tap reads q; inputs that
/// leave the same remainder by the stride are read by the same taps and make one scan.
///
/// # Panics
/// Where dx or dy hasn't as many images, or `weight` not all taps.
pub(super) fn input_gradient(
    kernels: &Kernels,
    conv: &Conv2d,
    (dx, input): (&mut [f32], Map),
    weight: &[f32],
    (dy, map): (&[f32], Map),
    images: usize,
    accumulate: bool,
) {
    let elements = images.checked_mul(input.elements());
    assert!(elements.is_some_and(|count| count <= dx.len()), "dx has fewer images");
    for phase in 0..conv.stride[0] * conv.stride[1] {
        let phase = [phase / conv.stride[1], phase % conv.stride[1]];
        if phase[0] >= input.height || phase[1] >= input.width {
            continue;
        }
        let source = Scan::gradient(conv, phase, dy, map);
        let rows = (input.height - phase[0]).div_ceil(conv.stride[0]);
        let columns = (input.width - phase[1]).div_ceil(conv.stride[1]);
        let of_phase = Region::full(images, Map::new(rows, columns, input.channels));
        let strides = Strides {
            image: input.elements(),
            row: conv.stride[0] * input.width * input.channels,
            column: conv.stride[1] * input.channels,
        };
        let first = SendPtr(dx[input.index(phase[0], phase[1], 0)..].as_mut_ptr());
        // SAFETY: a phase's pixels lie within dx, which is borrowed, and are apart.
        unsafe {
            scan(kernels, &source, weight, of_phase, (first, strides), accumulate, true, AsIs);
        }
    }
}

/// dw\[tap, c\] = Σ_pixels x\[tap of pixel, c\] · dy\[pixel, c\], pixels in order.
///
/// # Panics
/// Where x or dy hasn't as many images, or dw not all taps.
pub(super) fn weight_gradient(
    kernels: &Kernels,
    scan: &Scan<'_>,
    dw: &mut [f32],
    (dy, map): (&[f32], Map),
    images: usize,
    accumulate: bool,
) {
    check(scan, images, dw, map.channels);
    let elements = images.checked_mul(map.elements());
    assert!(elements.is_some_and(|count| count <= dy.len()), "dy has fewer images");
    if !accumulate {
        dw.fill(0.0);
    }
    let channels = map.channels;
    let zeros = vec![0f32; channels];
    let runs = runs(scan, Span::new(0, map.width));
    let groups = scan.taps().div_ceil(SUMS);
    // Several vectors a task share its lists of taps, as long as every core has work.
    let vectors = channels.div_ceil(kernels.lanes);
    let a_task = (vectors * groups).div_ceil(16).clamp(1, 4);
    let dw = SendPtr(dw.as_mut_ptr());
    for_each_task(true, vectors.div_ceil(a_task) * groups, |task| {
        let (chunk, group) = (task / groups, task % groups);
        let group = group * scan.taps() / groups..(group + 1) * scan.taps() / groups;
        let first = chunk * a_task * kernels.lanes;
        let of_task = first..channels.min(first + a_task * kernels.lanes);
        let mut list = Vec::with_capacity(scan.taps());
        for row in 0..images * map.height {
            let (image, row) = (row / map.height, row % map.height);
            for run in &runs {
                taps(scan, image, row, run.start, &zeros, &mut list);
                let dy = &dy[image * map.elements() + map.index(row, run.start, 0)..];
                for channel in of_task.clone().step_by(kernels.lanes) {
                    let sums = Sums {
                        taps: &list[group.clone()],
                        pixels: run.len(),
                        channels,
                        channel,
                        lanes: kernels.lanes.min(of_task.end - channel),
                        dy: dy[channel..].as_ptr(),
                        dw: dw.get(),
                    };
                    // SAFETY: taps lie within x or the zeros for every column of a run, and in dw, as `check`
                    // found; this task alone has these channels of these taps.
                    unsafe { kernels.sums[group.len() - 1](&sums) };
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::simd::InstructionSet;
    use crate::rng::{self, Draw};

    fn numbers(count: usize, label: &str) -> Vec<f32> {
        let mut draws = rng::stream(1, label);
        (0..count).map(|_| draws.between(-1.0, 1.0) as f32).collect()
    }

    /// Chains of `mul_add` in the promised order: y, and from dy dx and dw; dx and dw go on from
    /// `start`.
    fn scalar(
        conv: &Conv2d,
        (x, input): (&[f32], Map),
        weight: &[f32],
        (dy, map): (&[f32], Map),
        images: usize,
        start: f32,
    ) -> [Vec<f32>; 3] {
        let mut y = vec![0f32; dy.len()];
        let mut dx = vec![start; x.len()];
        let mut dw = vec![start; weight.len()];
        let at = |image: usize, row: usize, column: usize, c: usize, map: Map| {
            image * map.elements() + map.index(row, column, c)
        };
        let channels = map.channels;
        let under = |axis: usize, output: usize, tap: usize| {
            (output * conv.stride[axis] + tap * conv.dilation[axis])
                .wrapping_sub(conv.padding[axis])
        };
        let taps = || (0..conv.taps()).map(|tap| (tap / conv.kernel[1], tap % conv.kernel[1]));
        for image in 0..images {
            for (row, column) in (0..map.pixels()).map(|p| (p / map.width, p % map.width)) {
                for c in 0..channels {
                    let out = at(image, row, column, c, map);
                    for (tap, (r, s)) in taps().enumerate() {
                        let (from_row, from_column) = (under(0, row, r), under(1, column, s));
                        let within = from_row < input.height && from_column < input.width;
                        let from = at(image, from_row, from_column, c, input);
                        let value = if within { x[from] } else { 0.0 };
                        let w = tap * channels + c;
                        y[out] = value.mul_add(weight[w], y[out]);
                        dw[w] = value.mul_add(dy[out], dw[w]);
                    }
                }
            }
            for (row, column) in (0..input.pixels()).map(|p| (p / input.width, p % input.width)) {
                for c in 0..channels {
                    let from = at(image, row, column, c, input);
                    for (tap, (r, s)) in taps().enumerate() {
                        let output = |axis: usize, input: usize, tap: usize| {
                            let distance = (input + conv.padding[axis]) as isize
                                - (tap * conv.dilation[axis]) as isize;
                            let stride = conv.stride[axis] as isize;
                            (distance % stride == 0).then_some((distance / stride) as usize)
                        };
                        let (Some(p), Some(q)) = (output(0, row, r), output(1, column, s)) else {
                            continue;
                        };
                        let within = p < map.height && q < map.width;
                        let value = if within { dy[at(image, p, q, c, map)] } else { 0.0 };
                        dx[from] = value.mul_add(weight[tap * channels + c], dx[from]);
                    }
                }
            }
        }
        [y, dx, dw]
    }

    #[test]
    fn every_instruction_set_gives_the_bits_of_scalar_chains() {
        let base = |channels, kernel, stride, padding| Conv2d {
            groups: channels,
            ..Conv2d::square(channels, channels, kernel, stride, padding)
        };
        for (conv, height, width) in [
            (base(1, 3, 1, 1), 4, 3),
            (base(70, 3, 1, 1), 5, 9),
            (base(33, 3, 2, 1), 8, 13),
            (base(20, 7, 1, 3), 5, 4),
            (Conv2d { dilation: [2, 1], padding: [0, 2], ..base(130, 4, 1, 0) }, 9, 8),
            (Conv2d { stride: [1, 3], ..base(5, 2, 1, 0) }, 3, 11),
        ] {
            let images = 2;
            let input = Map::new(height, width, conv.in_channels);
            let map = conv.output_map(input).unwrap();
            let x = numbers(images * input.elements(), "x");
            let weight = numbers(conv.taps() * conv.in_channels, "w");
            let dy = numbers(images * map.elements(), "dy");
            let start = 0.25;
            let [y, dx, dw] = scalar(&conv, (&x, input), &weight, (&dy, map), images, start);
            for set in InstructionSet::available() {
                let kernels = Kernels::of(set);
                let mut found = vec![f32::NAN; y.len()];
                let out = (SendPtr(found.as_mut_ptr()), map);
                let region = Region::full(images, map);
                let source = Scan::forward(&conv, &x, input);
                // SAFETY: `found` has the output's size.
                unsafe {
                    forward(&kernels, &source, &weight, out, region, true, AsIs);
                }
                assert_eq!(found, y, "{set:?}, output of {conv:?}");
                let mut found = vec![start; dx.len()];
                let to = (found.as_mut_slice(), input);
                input_gradient(&kernels, &conv, to, &weight, (&dy, map), images, true);
                assert_eq!(found, dx, "{set:?}, gradient of {conv:?}'s input");
                let mut found = vec![start; dw.len()];
                weight_gradient(&kernels, &source, &mut found, (&dy, map), images, true);
                assert_eq!(found, dw, "{set:?}, gradient of {conv:?}'s weights");
            }
        }
    }
}
