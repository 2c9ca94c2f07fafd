//! Blocked matrix products of the CPU, in the two forms that convolutions and linear layers need.
//!
//! [`gather`] computes rows that are sums over *taps*, each a run of contiguous floats somewhere
//! in memory, times a matrix B: an implicit GEMM that never writes the im2col matrix. [`outer`]
//! sums outer products over pixels: the gradient of weights.
//!
//! Every element is one chain of fused multiply-adds in the order of κ (tap, then channel), however
//! the work is blocked, vectorised or spread over threads: the same bits as a scalar `fmaf` loop,
//! on every instruction set and in the CUDA kernels.

mod exchanged;
mod gather;
pub(crate) mod in_place;
mod micro;
mod outer;
pub(crate) mod small;
mod taps;

use super::simd::InstructionSet;

pub(crate) use exchanged::{LANES, chain, exchanged};
pub(crate) use gather::AsIs;
pub use gather::{Finish, ImplicitGemm, gather, pack};
pub(crate) use outer::{WeightGradGemm, outer};
pub use taps::Taps;

/// The loop that multiplies here, and its largest tile in rows × columns: `gather 6x64`.
pub(crate) fn variant() -> String {
    let kernels = micro::kernels();
    format!("gather {}x{}", micro::ROWS, kernels.panel())
}

/// The vector extension that multiplies here.
pub(crate) fn instruction_set() -> &'static str {
    InstructionSet::best().name()
}

/// A pointer that tasks on several threads may use, each for elements of its own.
#[derive(Clone, Copy)]
pub(crate) struct SendPtr<T>(pub *mut T);

// SAFETY: it is used in unsafe code alone, which vouches that tasks write disjoint elements.
unsafe impl<T> Send for SendPtr<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for SendPtr<T> {}

impl<T> SendPtr<T> {
    /// The pointer; a method, so that closures capture the wrapper and not the field.
    pub fn get(self) -> *mut T {
        self.0
    }
}

/// Runs `task` for each index below `count`, on every core if `parallel`.
pub(crate) fn for_each_task(parallel: bool, count: usize, task: impl Fn(usize) + Sync) {
    if parallel && count > 1 && rayon::current_num_threads() > 1 {
        on_every_core(count, &task);
    } else {
        (0..count).for_each(task);
    }
}

/// As [`for_each_task`] on every core, but compiled once for all tasks: of rayon's code each would bring some 2,000 lines
/// to LLVM.
fn on_every_core(count: usize, task: &(dyn Fn(usize) + Sync)) {
    use rayon::prelude::*;
    (0..count).into_par_iter().with_max_len(1).for_each(task);
}
