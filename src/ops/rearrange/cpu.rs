//! Moving elements on the CPU.

use super::{MoveStep, Rearrange, for_each_place};
use crate::Result;
use crate::cpu::gemm::{SendPtr, for_each_task};
use crate::ops::product::start_from_zero;
use crate::ops::{HostBackward, HostForward, pixels};

pub fn forward(op: &Rearrange, ctx: &mut HostForward<'_>) -> Result<()> {
    let (map, region, parallel) = (op.map, ctx.region, ctx.parallel);
    let inputs: Vec<(&[f32], usize)> = (0..ctx.inputs.len())
        .map(|at| {
            let image = if ctx.inputs[at].spec.shared { 0 } else { ctx.input_map(at).elements() };
            (ctx.input(at), image)
        })
        .collect();
    let y = ctx.output();
    let images = region.images;
    if !op.covers {
        pixels::forward(ctx, y, &|_: usize, _: usize, _: usize, y: &mut [f32]| y.fill(op.fill));
    }
    let y = SendPtr(y.as_mut_ptr());
    let whole = region.is_whole(map);
    let within = |place: usize| {
        let pixel = place / map.channels;
        region.rows.contains(pixel / map.width)
            && region.columns.contains(pixel % map.width)
            && region.channels.contains(place % map.channels)
    };
    for piece in &op.pieces {
        let (values, image_elements) = inputs[piece.input];
        let outer = piece.steps.first().copied().unwrap_or(MoveStep { size: 1, from: 0, to: 0 });
        let inner = piece.steps.get(1..).unwrap_or_default();
        // Neighbours that stay neighbours are moved together.
        let (inner, run) = match inner.split_last() {
            Some((MoveStep { size, from: 1, to: 1 }, rest)) if whole => (rest, *size),
            _ => (inner, 1),
        };
        for_each_task(parallel, images.len() * outer.size, |task| {
            let (image, at) = (images.start + task / outer.size, task % outer.size);
            let from = piece.from.wrapping_add_signed(at as isize * outer.from);
            let x = &values[image * image_elements..];
            for_each_place(inner, from, piece.to + at * outer.to, &mut |from, to| {
                if whole || within(to) {
                    let start = image * map.elements() + to;
                    // SAFETY: no two pieces, and no two steps of one, write to the same place, which lies in
                    // the output.
                    let y = unsafe { std::slice::from_raw_parts_mut(y.get().add(start), run) };
                    y.copy_from_slice(&x[from..from + run]);
                }
            });
        });
    }
    Ok(())
}

/// Steps that read different places, and those that repeat one.
pub(super) fn split(steps: &[MoveStep]) -> (Vec<MoveStep>, Vec<MoveStep>) {
    steps.iter().partition(|step| step.from != 0)
}

/// dx = Σ dy over the places that an element went to: for each piece in turn over its repeats, and over
/// the images where there is one for all, first to last.
pub fn backward(op: &Rearrange, ctx: &mut HostBackward<'_>) -> Result<()> {
    let (images, dy) = (ctx.images(), ctx.output_gradient());
    for input in 0..ctx.inputs.len() {
        let (elements, shared) = (ctx.input_map(input).elements(), ctx.inputs[input].spec.shared);
        let Some((dx, mut accumulate)) = ctx.input_gradient(input) else { continue };
        let maps = if shared { 1 } else { images };
        start_from_zero(dx, maps * elements, &mut accumulate);
        for piece in op.pieces.iter().filter(|piece| piece.input == input) {
            let (kept, repeated) = split(&piece.steps);
            for map in 0..maps {
                let summed = if shared { 0..images } else { map..map + 1 };
                for_each_place(&kept, piece.from, piece.to, &mut |from, to| {
                    let mut sum = 0.0;
                    for image in summed.clone() {
                        for_each_place(&repeated, 0, to, &mut |_, to| {
                            sum += dy[image * op.map.elements() + to];
                        });
                    }
                    dx[map * elements + from] += sum;
                });
            }
        }
    }
    Ok(())
}
