//! The CPU's ceilings, with every thread of the pool.

use rayon::prelude::*;

use crate::device::Buffer;

/// Copies one buffer into another of the same size, a part a thread.
pub fn copy(from: &Buffer, to: &Buffer) {
    let threads = rayon::current_num_threads();
    let part = from.bytes().div_ceil(threads);
    (0..threads).into_par_iter().for_each(|thread| {
        let start = (thread * part).min(from.bytes());
        let bytes = part.min(from.bytes() - start);
        // SAFETY: parts of two live buffers of the host that don't overlap, one thread's each.
        unsafe {
            let from = (from.address() + start as u64) as *const u8;
            std::ptr::copy_nonoverlapping(from, (to.address() + start as u64) as *mut u8, bytes);
        }
    });
}

const ROUNDS: usize = 1_000_000;
/// Enough chains to hide the latency, whatever the vectors' width.
const CHAINS: usize = 12;
/// Lanes of a chain: a vector's.
fn lanes() -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return 16;
        }
        if is_x86_feature_detected!("avx2") {
            return 8;
        }
    }
    4
}

/// Operations of [`multiply_add`].
pub fn flops() -> f64 {
    (rayon::current_num_threads() * ROUNDS * CHAINS * lanes() * 2) as f64
}

/// Runs the chains on each thread of the pool.
pub fn multiply_add() {
    rayon::broadcast(|_| {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                // SAFETY: the instructions are there.
                return std::hint::black_box(unsafe { chains_avx512() });
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                // SAFETY: as above.
                return std::hint::black_box(unsafe { chains_avx2() });
            }
        }
        std::hint::black_box(chains::<4>())
    });
}

/// One loop for any width: the compiler makes vectors of the lanes.
#[inline(always)]
fn chains<const LANES: usize>() -> f32 {
    let factor = std::hint::black_box(0.5f32);
    let mut chains = [[0f32; LANES]; CHAINS];
    for _ in 0..ROUNDS {
        for lane in chains.as_flattened_mut() {
            *lane = factor.mul_add(*lane, 1.0);
        }
    }
    chains.as_flattened().iter().sum()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,fma")]
fn chains_avx512() -> f32 {
    chains::<16>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn chains_avx2() -> f32 {
    chains::<8>()
}
