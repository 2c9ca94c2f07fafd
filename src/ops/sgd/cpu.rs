//! SGD on the CPU.

use super::{Arenas, Sgd};
use crate::ops::gemm::{SendPtr, for_each_task};
use crate::ops::wide::wide;

const CHUNK: usize = 1 << 14;

/// # Safety
/// As [`super::step`].
pub unsafe fn step(arenas: &Arenas, rate: f32, options: &Sgd) {
    let Sgd { momentum, weight_decay, nesterov, first_step } = *options;
    let arena = |address: u64| SendPtr(address as *mut f32);
    let (values, gradients) = (arena(arenas.values), arena(arenas.gradients));
    let buffers = arena(arenas.momentum);
    for_each_task(true, arenas.count.div_ceil(CHUNK), |task| {
        let start = task * CHUNK;
        let length = CHUNK.min(arenas.count - start);
        // SAFETY: chunks are disjoint parts of the caller's arenas.
        let (values, gradients, buffers) = unsafe {
            (
                std::slice::from_raw_parts_mut(values.get().add(start), length),
                std::slice::from_raw_parts(gradients.get().add(start), length),
                std::slice::from_raw_parts_mut(buffers.get().add(start), length),
            )
        };
        wide(|| {
            for ((value, gradient), buffer) in values.iter_mut().zip(gradients).zip(buffers) {
                let d = weight_decay.mul_add(*value, *gradient);
                *buffer = if first_step { d } else { momentum.mul_add(*buffer, d) };
                let step = if nesterov { momentum.mul_add(*buffer, d) } else { *buffer };
                *value = (-rate).mul_add(step, *value);
            }
        });
    });
}
