//! The average on the CPU.

use crate::cpu::gemm::{SendPtr, for_each_task};
use crate::cpu::wide::wide;

/// Elements of a task.
const CHUNK: usize = 1 << 14;

/// # Safety
/// As [`super::update`].
pub unsafe fn update(averages: u64, values: u64, count: usize, share: f32, kept: f32) {
    let (averages, values) = (SendPtr(averages as *mut f32), SendPtr(values as *mut f32));
    for_each_task(true, count.div_ceil(CHUNK), |task| {
        let start = task * CHUNK;
        let length = CHUNK.min(count - start);
        // SAFETY: chunks are disjoint parts of the caller's arenas.
        let (averages, values) = unsafe {
            (
                std::slice::from_raw_parts_mut(averages.get().add(start), length),
                std::slice::from_raw_parts(values.get().add(start), length),
            )
        };
        wide(|| {
            for (average, value) in averages.iter_mut().zip(values) {
                *average = share.mul_add(*value, kept * *average);
            }
        });
    });
}
