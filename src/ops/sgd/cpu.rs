//! SGD on the CPU.

use super::{Arenas, Sgd};
use crate::cpu::wide::{Pieces, for_each_piece};
use crate::ops::RunState;
use crate::ops::arenas::{GradientReader, STEP_BLOCK};

struct SgdStep<'a> {
    arenas: &'a Arenas,
    options: Sgd,
    rate: f32,
    reader: GradientReader,
    is_first: bool,
}

impl Pieces for SgdStep<'_> {
    #[inline(always)]
    fn run(&self, piece: usize) {
        let SgdStep { rate, reader, is_first, .. } = *self;
        let Sgd { momentum, nesterov } = self.options;
        // SAFETY: the arenas of `step`'s caller; each piece is run once.
        let (chunk, buffers) = unsafe {
            let chunk = self.arenas.chunk(piece);
            let buffers = chunk.moment(0);
            (chunk, buffers)
        };
        let values = chunk.values.chunks_mut(STEP_BLOCK);
        let blocks = values.zip(chunk.gradients.chunks(STEP_BLOCK));
        let blocks = blocks.zip(buffers.chunks_mut(STEP_BLOCK)).zip(chunk.blocks);
        for (((values, gradients), buffers), own) in blocks {
            let rate = rate * own.rate_scale;
            for ((value, gradient), buffer) in values.iter_mut().zip(gradients).zip(buffers) {
                let d = own.decay.mul_add(*value, reader.read(*gradient));
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
    let Some(reader) = (unsafe { arenas.host_reader() }) else { return };
    let rate = state.learning_rate;
    let work = SgdStep { arenas, options: *options, rate, reader, is_first: state.step == 0 };
    for_each_piece(true, arenas.chunks(), &work);
}
