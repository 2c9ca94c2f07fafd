//! Loops of operations that treat every element alike: over a box of the output going forward,
//! over all valid images going back.

use super::gemm::{SendPtr, for_each_task};
use super::wide::wide;
use super::{Backward, Forward};

/// Elements of a task of a pass over whole batches.
const CHUNK: usize = 1 << 14;

/// y = f(x, number of inputs' values at the element) over the output box, for one or two inputs
/// of the output's shape; `f` gets the values of both (the same twice where there is one).
pub(crate) fn forward(ctx: &mut Forward<'_>, f: impl Fn(f32, f32) -> f32 + Sync) {
    let a = ctx.input(0);
    let b = if ctx.inputs.len() > 1 { ctx.input(1) } else { a };
    let (map, region) = (ctx.output_map(), ctx.region);
    let parallel = ctx.parallel;
    let y = SendPtr(ctx.output().as_mut_ptr());
    let run = |offset: usize, length: usize| {
        // SAFETY: runs of a box are disjoint and lie within the output.
        let y = unsafe { std::slice::from_raw_parts_mut(y.get().add(offset), length) };
        let (a, b) = (&a[offset..offset + length], &b[offset..offset + length]);
        wide(|| {
            for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
                *y = f(*a, *b);
            }
        });
    };
    if region.is_whole(map) {
        let first = region.images.start * map.elements();
        let count = region.elements();
        for_each_task(parallel, count.div_ceil(CHUNK), |task| {
            let start = task * CHUNK;
            run(first + start, CHUNK.min(count - start));
        });
    } else {
        region.for_each_run(map, |offset| run(offset, region.channels.len()));
    }
}

/// dx (+)= f(value, dy) over all valid images, where `value` is the operation's kept value of the
/// element. Does nothing where nobody asks for the gradient of input `index`.
pub(crate) fn backward(
    ctx: &mut Backward<'_>,
    index: usize,
    value: &[f32],
    f: impl Fn(f32, f32) -> f32 + Sync,
) {
    let count = ctx.images() * ctx.output_map().elements();
    let dy = &ctx.output_gradient()[..count];
    let Some((dx, accumulate)) = ctx.input_gradient(index) else { return };
    let dx = SendPtr(dx.as_mut_ptr());
    for_each_task(true, count.div_ceil(CHUNK), |task| {
        let range = task * CHUNK..count.min((task + 1) * CHUNK);
        // SAFETY: chunks are disjoint and lie within the gradient.
        let dx = unsafe { std::slice::from_raw_parts_mut(dx.get().add(range.start), range.len()) };
        let (value, dy) = (&value[range.clone()], &dy[range]);
        wide(|| {
            let terms = dx.iter_mut().zip(value).zip(dy);
            if accumulate {
                terms.for_each(|((dx, v), dy)| *dx += f(*v, *dy));
            } else {
                terms.for_each(|((dx, v), dy)| *dx = f(*v, *dy));
            }
        });
    });
}
