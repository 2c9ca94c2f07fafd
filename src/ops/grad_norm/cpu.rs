//! The norm on the CPU: a task a tile, in the order that the kernel's threads have.

use super::{GradNorm, LANES, TILE};
use crate::cpu::gemm::SendPtr;
use crate::cpu::wide::{Pieces, for_each_piece};

/// Lanes of a warp.
const WARP: usize = 32;

/// Σ as a block of threads takes it: a tree over each warp, then the warps in order.
fn block_sum(mut lanes: [f64; LANES]) -> f64 {
    let warps = lanes.chunks_exact_mut(WARP).map(|warp| {
        let mut width = WARP / 2;
        while width > 0 {
            let (low, high) = warp.split_at_mut(width);
            low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
            width /= 2;
        }
        warp[0]
    });
    warps.fold(0.0, |sum, warp| sum + warp)
}

struct Tiles<'a> {
    gradients: &'a [f32],
    partials: SendPtr<f64>,
}

impl Pieces for Tiles<'_> {
    #[inline(always)]
    fn run(&self, tile: usize) {
        let end = self.gradients.len().min((tile + 1) * TILE);
        let mut lanes = [0f64; LANES];
        for gradients in self.gradients[tile * TILE..end].chunks(LANES) {
            for (lane, gradient) in lanes.iter_mut().zip(gradients) {
                let g = f64::from(*gradient);
                *lane += g * g;
            }
        }
        // SAFETY: this tile's own place.
        unsafe { *self.partials.get().add(tile) = block_sum(lanes) };
    }
}

/// # Safety
/// As [`super::run`].
pub unsafe fn run(gradients: u64, count: usize, workspace: u64, max_norm: f32) {
    let tiles = count.div_ceil(TILE);
    let result = workspace as *mut GradNorm;
    // SAFETY: the caller's gradients; partial sums follow the result.
    let (gradients, partials) = unsafe {
        let gradients = std::slice::from_raw_parts(gradients as *const f32, count);
        (gradients, SendPtr(result.add(1).cast::<f64>()))
    };
    for_each_piece(true, tiles, &Tiles { gradients, partials });
    // SAFETY: every tile has written its sum, and no task is left.
    let partials = unsafe { std::slice::from_raw_parts(partials.get(), tiles) };
    let mut lanes = [0f64; LANES];
    for partials in partials.chunks(LANES) {
        lanes.iter_mut().zip(partials).for_each(|(lane, partial)| *lane += *partial);
    }
    let norm = block_sum(lanes).sqrt();
    let clipped = (f64::from(max_norm) / (norm + 1e-6)).min(1.0) as f32;
    let factor = if norm.is_finite() { clipped } else { f32::NAN };
    // SAFETY: the caller's.
    unsafe { *result = GradNorm { norm, factor, padding: 0 } };
}
