//! Loops of operations that treat every element alike: over a box of the output going forward,
//! over all valid images going back.

use super::{HostBackward, HostForward, pixels};
use crate::cpu::gemm::SendPtr;
use crate::cpu::wide::{Pieces, for_each_piece};
use crate::tensor::{Map, Region};

/// Elements of a piece of a pass over whole batches.
const CHUNK: usize = 1 << 14;

/// A function of two numbers. Short closures are; longer ones have their `of` declared
/// `#[inline(always)]`, without which they would not become vectors (see [`crate::cpu::wide::wide`]).
pub(crate) trait Each: Sync {
    fn of(&self, a: f32, b: f32) -> f32;
}

impl<F: Fn(f32, f32) -> f32 + Sync> Each for F {
    #[inline(always)]
    fn of(&self, a: f32, b: f32) -> f32 {
        self(a, b)
    }
}

/// y (+)= f(a, b), chunk by chunk.
struct ElementChunks<'a, F> {
    a: &'a [f32],
    b: &'a [f32],
    y: SendPtr<f32>,
    accumulate: bool,
    f: F,
}

impl<F: Each> ElementChunks<'_, F> {
    #[inline(always)]
    fn between(&self, start: usize, end: usize) {
        // SAFETY: pieces are disjoint and lie within the result.
        let y = unsafe { std::slice::from_raw_parts_mut(self.y.get().add(start), end - start) };
        let terms = y.iter_mut().zip(&self.a[start..end]).zip(&self.b[start..end]);
        if self.accumulate {
            terms.for_each(|((y, a), b)| *y += self.f.of(*a, *b));
        } else {
            terms.for_each(|((y, a), b)| *y = self.f.of(*a, *b));
        }
    }
}

impl<F: Each> Pieces for ElementChunks<'_, F> {
    const AVX512: bool = true;

    #[inline(always)]
    fn run(&self, piece: usize) {
        self.between(piece * CHUNK, self.a.len().min((piece + 1) * CHUNK));
    }
}

/// The rows of a box.
struct Rows<'a, F> {
    chunks: ElementChunks<'a, F>,
    map: Map,
    region: Region,
}

impl<F: Each> Pieces for Rows<'_, F> {
    const AVX512: bool = true;

    #[inline(always)]
    fn run(&self, piece: usize) {
        let (image, row) = self.region.row(piece);
        for column in self.region.columns.range() {
            let pixel = image * self.map.elements() + self.map.index(row, column, 0);
            self.chunks
                .between(pixel + self.region.channels.start, pixel + self.region.channels.end);
        }
    }
}

/// y = f(a, b) over the output box, a and b the values of two inputs of the output's shape, or of one input twice.
/// Returns the whole output.
pub(crate) fn forward<'a>(ctx: &mut HostForward<'a>, f: impl Each) -> &'a mut [f32] {
    let (map, region) = (ctx.output_map(), ctx.region);
    let a = ctx.input(0);
    let b = if ctx.inputs.len() > 1 { ctx.input(1) } else { a };
    let y = ctx.output();
    if region.is_whole(map) {
        let range = region.images.start * map.elements()..region.images.end * map.elements();
        combine(ctx.parallel, &a[range.clone()], &b[range.clone()], &mut y[range], false, f);
    } else {
        pixels::require_box(y, map, region);
        let chunks = ElementChunks { a, b, y: SendPtr(y.as_mut_ptr()), accumulate: false, f };
        for_each_piece(ctx.parallel, region.row_count(), &Rows { chunks, map, region });
    }
    y
}

/// dx (+)= f(value, dy) over all valid images, where `value` is the operation's kept value of the
/// element. Does nothing where nobody asks for the gradient of input `index`.
pub(crate) fn backward(ctx: &mut HostBackward<'_>, index: usize, value: &[f32], f: impl Each) {
    let count = ctx.images() * ctx.output_map().elements();
    let dy = &ctx.output_gradient()[..count];
    let Some((dx, accumulate)) = ctx.input_gradient(index) else { return };
    combine(true, &value[..count], dy, &mut dx[..count], accumulate, f);
}

/// y (+)= f(a, b) of slices of one length.
pub(crate) fn combine(
    parallel: bool,
    a: &[f32],
    b: &[f32],
    y: &mut [f32],
    accumulate: bool,
    f: impl Each,
) {
    assert!(a.len() == y.len() && b.len() == y.len());
    let work = ElementChunks { a, b, y: SendPtr(y.as_mut_ptr()), accumulate, f };
    for_each_piece(parallel, y.len().div_ceil(CHUNK), &work);
}

/// Every value by f(value, value), in place.
pub(crate) fn in_place(values: &mut [f32], f: impl Each) {
    struct Whole<'a, F>(SendPtr<f32>, usize, &'a F);
    impl<F: Each> Pieces for Whole<'_, F> {
        const AVX512: bool = true;

        #[inline(always)]
        fn run(&self, _piece: usize) {
            // SAFETY: the slice that was handed over, and this is its only piece.
            let values = unsafe { std::slice::from_raw_parts_mut(self.0.get(), self.1) };
            values.iter_mut().for_each(|value| *value = self.2.of(*value, *value));
        }
    }
    for_each_piece(false, 1, &Whole(SendPtr(values.as_mut_ptr()), values.len(), &f));
}
