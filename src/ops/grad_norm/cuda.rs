//! Arguments and grids of `kernels/optim/grad_norm.cu`.

use super::{GradNorm, LANES, TILE};
use crate::Result;
use crate::device::Device;
use crate::device::args::{GradNormPartialsArgs, GradNormTotalArgs};

/// # Safety
/// As the operation's own [`run`](super::run).
pub unsafe fn run(
    device: &Device,
    gradients: u64,
    count: usize,
    workspace: u64,
    max_norm: f32,
) -> Result<()> {
    let parts = count.div_ceil(TILE) as u32;
    let partials = workspace + size_of::<GradNorm>() as u64;
    let block = [LANES as u32, 1, 1];
    if parts > 0 {
        let args = GradNormPartialsArgs { gradients, partials, count: count as u64 };
        // SAFETY: the caller's.
        unsafe { device.launch("grad_norm_partials_f64", ([parts, 1, 1], block), &args) }?;
    }
    let args = GradNormTotalArgs { partials, result: workspace, parts, max_norm };
    // SAFETY: as above.
    unsafe { device.launch("grad_norm_total_f64", ([1, 1, 1], block), &args) }
}
