//! The CPU's ceilings, with every thread of the pool.

use rayon::prelude::*;

use crate::cpu::simd::{InstructionSet, Simd, compiled};
use crate::device::Buffer;

/// Copies one buffer of the host into another of the same size, a part a thread.
pub fn copy(from: &Buffer, to: &mut Buffer) {
    assert!(from.device().host_memory() && to.device().host_memory());
    assert_eq!(from.bytes(), to.bytes());
    let threads = rayon::current_num_threads();
    let part = from.bytes().div_ceil(threads);
    let (all, from, to) = (from.bytes(), from.address(), to.address());
    (0..threads).into_par_iter().for_each(|thread| {
        let start = (thread * part).min(all);
        let bytes = part.min(all - start);
        // SAFETY: parts of two live buffers of the host, as asserted, of which one is borrowed to be written; one
        // thread's each.
        unsafe {
            let from = (from + start as u64) as *const u8;
            std::ptr::copy_nonoverlapping(from, (to + start as u64) as *mut u8, bytes);
        }
    });
}

const ROUNDS: usize = 1_000_000;
/// Enough chains to hide the latency, whatever the vectors' width.
const CHAINS: usize = 12;

/// Operations of [`multiply_add`].
pub fn flops() -> f64 {
    (rayon::current_num_threads() * ROUNDS * CHAINS * InstructionSet::best().lanes() * 2) as f64
}

/// Runs the chains on each thread of the pool.
pub fn multiply_add() {
    let chains = compiled!(InstructionSet::best(), chains::<S>() -> f32);
    // SAFETY: the machine has the instruction set, of which there is a value.
    rayon::broadcast(|_| std::hint::black_box(unsafe { chains() }));
}

#[inline(always)]
fn chains<S: Simd>() -> f32 {
    match S::LANES {
        16 => chains_of::<16>(),
        8 => chains_of::<8>(),
        _ => chains_of::<4>(),
    }
}

/// One loop for any width: the compiler makes vectors of the lanes.
#[inline(always)]
fn chains_of<const LANES: usize>() -> f32 {
    let factor = std::hint::black_box(0.5f32);
    let mut chains = [[0f32; LANES]; CHAINS];
    for _ in 0..ROUNDS {
        for lane in chains.as_flattened_mut() {
            *lane = factor.mul_add(*lane, 1.0);
        }
    }
    chains.as_flattened().iter().sum()
}
