//! AdamW on the CPU.

use super::{AdamW, Arenas};
use crate::cpu::wide::{Pieces, for_each_piece};
use crate::ops::RunState;
use crate::ops::arenas::DECAY_BLOCK;

struct AdamWStep<'a> {
    arenas: &'a Arenas,
    numbers: [f32; 4],
    rate: f32,
    /// The rate with the first bias correction.
    size: f32,
    /// √ of the second bias correction.
    root: f32,
    factor: f32,
}

impl Pieces for AdamWStep<'_> {
    #[inline(always)]
    fn run(&self, piece: usize) {
        let AdamWStep { rate, size, root, factor, .. } = *self;
        let [mix1, beta2, mix2, eps] = self.numbers;
        // SAFETY: the arenas of `step`'s caller; each piece is run once.
        let (chunk, averages, squares) = unsafe {
            let chunk = self.arenas.chunk(piece);
            let (first, second) = (chunk.first(), chunk.second());
            (chunk, first, second)
        };
        let blocks = chunk.values.chunks_mut(DECAY_BLOCK).zip(chunk.gradients.chunks(DECAY_BLOCK));
        let moments = averages.chunks_mut(DECAY_BLOCK).zip(squares.chunks_mut(DECAY_BLOCK));
        let blocks = blocks.zip(moments).zip(chunk.decays);
        for (((values, gradients), (averages, squares)), decay) in blocks {
            let kept = (-rate).mul_add(*decay, 1.0);
            let moments = averages.iter_mut().zip(squares);
            for ((value, gradient), (m, v)) in values.iter_mut().zip(gradients).zip(moments) {
                let g = gradient * factor;
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
    let Some(factor) = (unsafe { arenas.host_factor() }) else { return };
    let rate = state.learning_rate;
    let (size, root) = (rate / state.bias_correction1, state.sqrt_bias_correction2);
    let work = AdamWStep { arenas, numbers: options.rounded(), rate, size, root, factor };
    for_each_piece(true, arenas.chunks(), &work);
}
