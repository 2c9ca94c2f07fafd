//! The norm of all gradients together, and the factor that clips it, as PyTorch's `clip_grad_norm_`
//! takes them: norm = √Σ g²; factor = min(1, max / (norm + 1e-6)). The factor stays in device memory,
//! where the optimiser's step multiplies by it what it reads: no pass of its own, no wait for the host.
//!
//! Where PyTorch would spread a NaN from a norm that isn't finite, the factor is NaN and the step
//! leaves everything as it is. Sums are f64, in an order that follows from the count alone; all devices
//! have the same bits.

mod cpu;
mod cuda;

use bytemuck::{Pod, Zeroable};

use crate::Result;
use crate::device::Device;

/// Gradients of a partial sum.
const TILE: usize = 1 << 14;
/// Sums of a tile: gradient i is added to number i % `LANES`.
const LANES: usize = 256;

/// What lies at the front of the workspace: `GradNormResult` of `kernels/optim/grad_norm.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct GradNorm {
    pub norm: f64,
    /// What gradients are to be multiplied by; NaN where the norm isn't finite.
    pub factor: f32,
    /// Keeps the size a multiple of 8.
    pub padding: u32,
}

/// Where the factor lies in the workspace.
pub const FACTOR_OFFSET: u64 = std::mem::offset_of!(GradNorm, factor) as u64;

/// Bytes of the workspace for `count` gradients: a [`GradNorm`], then the partial sums.
pub fn workspace_bytes(count: usize) -> usize {
    size_of::<GradNorm>() + size_of::<f64>() * count.div_ceil(TILE)
}

/// Takes the norm of `count` f32 at `gradients`; the [`GradNorm`] is then at `workspace`.
///
/// # Safety
/// `count` gradients, and a workspace of [`workspace_bytes`], are memory of `device`, alive, apart from each other, and
/// in nobody else's use; the workspace is aligned to 8 bytes.
pub unsafe fn run(
    device: &Device,
    gradients: u64,
    count: usize,
    workspace: u64,
    max_norm: f32,
) -> Result<()> {
    // SAFETY: the caller's.
    unsafe {
        if device.is_cpu() {
            cpu::run(gradients, count, workspace, max_norm);
            return Ok(());
        }
        cuda::run(device, gradients, count, workspace, max_norm)
    }
}
