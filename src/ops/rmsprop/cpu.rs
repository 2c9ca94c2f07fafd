//! RMSprop on the CPU.

use super::{Arenas, RmsProp};
use crate::cpu::wide::{Pieces, for_each_piece};
use crate::ops::RunState;
use crate::ops::arenas::{BlockOptions, GradientReader, STEP_BLOCK};

struct RmsPropStep<'a> {
    arenas: &'a Arenas,
    options: RmsProp,
    rate: f32,
    reader: GradientReader,
}

/// One block of each arena; empty where the rule has no such moment.
struct ArenaBlock<'a> {
    values: &'a mut [f32],
    gradients: &'a [f32],
    squares: &'a mut [f32],
    buffers: &'a mut [f32],
    averages: &'a mut [f32],
}

impl RmsPropStep<'_> {
    #[inline(always)]
    fn block(&self, block: ArenaBlock<'_>, own: BlockOptions) {
        let RmsProp { momentum, tensorflow, .. } = self.options;
        let [alpha, mix, eps] = self.options.rounded();
        let rate = self.rate * own.rate_scale;
        let (inside, outside) = if tensorflow { (eps, 0.0) } else { (0.0, eps) };
        let ArenaBlock { values, gradients, squares, buffers, averages } = block;
        let (mut steps, mut squared) = ([0f32; STEP_BLOCK], [0f32; STEP_BLOCK]);
        let of_gradients = steps.iter_mut().zip(&mut squared).zip(&mut *squares);
        for (((g, w), v), (p, gradient)) in of_gradients.zip(values.iter().zip(gradients)) {
            *g = own.decay.mul_add(*p, self.reader.read(*gradient));
            *v = (mix * *g).mul_add(*g, alpha * *v);
            *w = *v;
        }
        for ((a, w), g) in averages.iter_mut().zip(&mut squared).zip(&steps) {
            *a = mix.mul_add(*g - *a, *a);
            let variance = (-*a).mul_add(*a, *w);
            *w = if variance < 0.0 { 0.0 } else { variance };
        }
        for (step, w) in steps.iter_mut().zip(&squared) {
            *step /= (*w + inside).sqrt() + outside;
        }
        let mut by = rate;
        if !buffers.is_empty() {
            let share = if tensorflow { rate } else { 1.0 };
            by = if tensorflow { 1.0 } else { rate };
            for (b, step) in buffers.iter_mut().zip(&mut steps) {
                *b = momentum.mul_add(*b, share * *step);
                *step = *b;
            }
        }
        for (p, step) in values.iter_mut().zip(&steps) {
            *p = (-by).mul_add(*step, *p);
        }
    }
}

impl Pieces for RmsPropStep<'_> {
    #[inline(always)]
    fn run(&self, piece: usize) {
        // SAFETY: the arenas of `step`'s caller; each piece is run once, and has these moments.
        let (chunk, squares, mut buffers, mut averages) = unsafe {
            let chunk = self.arenas.chunk(piece);
            let (squares, buffers, averages) = self.options.split([0, 1, 2]);
            let squares = chunk.moment(squares);
            let buffers = buffers.map(|index| chunk.moment(index).chunks_mut(STEP_BLOCK));
            let averages = averages.map(|index| chunk.moment(index).chunks_mut(STEP_BLOCK));
            (chunk, squares, buffers, averages)
        };
        let blocks = chunk.values.chunks_mut(STEP_BLOCK).zip(chunk.gradients.chunks(STEP_BLOCK));
        let blocks = blocks.zip(squares.chunks_mut(STEP_BLOCK)).zip(chunk.blocks);
        for (((values, gradients), squares), own) in blocks {
            let buffers = buffers.as_mut().and_then(Iterator::next).unwrap_or_default();
            let averages = averages.as_mut().and_then(Iterator::next).unwrap_or_default();
            self.block(ArenaBlock { values, gradients, squares, buffers, averages }, *own);
        }
    }
}

/// # Safety
/// As [`super::step`].
pub unsafe fn step(arenas: &Arenas, state: &RunState, options: &RmsProp) {
    // SAFETY: the caller's.
    let Some(reader) = (unsafe { arenas.host_reader() }) else { return };
    let work = RmsPropStep { arenas, options: *options, rate: state.learning_rate, reader };
    for_each_piece(true, arenas.chunks(), &work);
}
