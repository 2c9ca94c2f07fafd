//! AdamW on the CPU.

use super::{AdamW, Arenas};
use crate::cpu::wide::{Pieces, for_each_piece};
use crate::ops::RunState;
use crate::ops::arenas::{GradientReader, STEP_BLOCK};

struct AdamWStep<'a> {
    arenas: &'a Arenas,
    numbers: [f32; 4],
    rate: f32,
    /// The first bias correction.
    correction: f32,
    /// √ of the second bias correction.
    root: f32,
    reader: GradientReader,
}

impl Pieces for AdamWStep<'_> {
    #[inline(always)]
    fn run(&self, piece: usize) {
        let AdamWStep { rate, correction, root, reader, .. } = *self;
        let [mix1, beta2, mix2, eps] = self.numbers;
        // SAFETY: the arenas of `step`'s caller; each piece is run once.
        let (chunk, averages, squares) = unsafe {
            let chunk = self.arenas.chunk(piece);
            let (first, second) = (chunk.moment(0), chunk.moment(1));
            (chunk, first, second)
        };
        let blocks = chunk.values.chunks_mut(STEP_BLOCK).zip(chunk.gradients.chunks(STEP_BLOCK));
        let moments = averages.chunks_mut(STEP_BLOCK).zip(squares.chunks_mut(STEP_BLOCK));
        let blocks = blocks.zip(moments).zip(chunk.blocks);
        for (((values, gradients), (averages, squares)), own) in blocks {
            let rate = rate * own.rate_scale;
            let size = rate / correction;
            let kept = (-rate).mul_add(own.decay, 1.0);
            let moments = averages.iter_mut().zip(squares);
            for ((value, gradient), (m, v)) in values.iter_mut().zip(gradients).zip(moments) {
                let g = reader.read(*gradient);
                *m = mix1.mul_add(g - *m, *m);
                *v = (mix2 * g).mul_add(g, beta2 * *v);
                let step = size * *m / (v.sqrt() / root + eps);
                *value = *value * kept - step;
            }
        }
    }
}

/// # Safety
/// As [`super::step`].
pub unsafe fn step(arenas: &Arenas, state: &RunState, options: &AdamW) {
    // SAFETY: the caller's.
    let Some(reader) = (unsafe { arenas.host_reader() }) else { return };
    let rate = state.learning_rate;
    let (correction, root) = (state.bias_correction1, state.sqrt_bias_correction2);
    let work = AdamWStep { arenas, numbers: options.rounded(), rate, correction, root, reader };
    for_each_piece(true, arenas.chunks(), &work);
}
