//! SGD on the CPU.

use super::{Arenas, Sgd};
use crate::cpu::wide::{Pieces, for_each_piece};
use crate::ops::RunState;
use crate::ops::arenas::DECAY_BLOCK;

struct SgdStep<'a> {
    arenas: &'a Arenas,
    options: Sgd,
    rate: f32,
    factor: f32,
    is_first: bool,
}

impl Pieces for SgdStep<'_> {
    #[inline(always)]
    fn run(&self, piece: usize) {
        let SgdStep { rate, factor, is_first, .. } = *self;
        let Sgd { momentum, nesterov } = self.options;
        // SAFETY: the arenas of `step`'s caller; each piece is run once.
        let (chunk, buffers) = unsafe {
            let chunk = self.arenas.chunk(piece);
            let buffers = chunk.first();
            (chunk, buffers)
        };
        let values = chunk.values.chunks_mut(DECAY_BLOCK);
        let blocks = values.zip(chunk.gradients.chunks(DECAY_BLOCK));
        let blocks = blocks.zip(buffers.chunks_mut(DECAY_BLOCK)).zip(chunk.decays);
        for (((values, gradients), buffers), decay) in blocks {
            for ((value, gradient), buffer) in values.iter_mut().zip(gradients).zip(buffers) {
                let d = decay.mul_add(*value, gradient * factor);
                *buffer = if is_first { d } else { momentum.mul_add(*buffer, d) };
                let step = if nesterov { momentum.mul_add(*buffer, d) } else { *buffer };
                *value = (-rate).mul_add(step, *value);
            }
        }
    }
}

/// # Safety
/// As [`super::step`].
pub unsafe fn step(arenas: &Arenas, state: &RunState, options: &Sgd) {
    // SAFETY: the caller's.
    let Some(factor) = (unsafe { arenas.host_factor() }) else { return };
    let rate = state.learning_rate;
    let work = SgdStep { arenas, options: *options, rate, factor, is_first: state.step == 0 };
    for_each_piece(true, arenas.chunks(), &work);
}
