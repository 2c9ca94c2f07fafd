//! Arguments and grid of `kernels/optim/sgd.cu`.

use super::{Arenas, Sgd};
use crate::Result;
use crate::device::Device;
use crate::device::args::SgdStepArgs;
use crate::ops::place;

/// # Safety
/// As the operation's own [`step`](super::step).
pub unsafe fn step(device: &Device, arenas: &Arenas, state: u64, options: &Sgd) -> Result<()> {
    if arenas.count == 0 {
        return Ok(());
    }
    let args = SgdStepArgs {
        values: arenas.values,
        gradients: arenas.gradients,
        buffers: arenas.moments[0],
        blocks: arenas.blocks,
        factor: arenas.factor,
        state,
        count: arenas.count as u64,
        max_value: arenas.max_value,
        unused: 0,
        momentum: options.momentum,
        nesterov: options.nesterov.into(),
    };
    // SAFETY: the caller's.
    unsafe { device.launch("sgd_step_f32", place::quad_grid(arenas.count), place::BLOCK, &args) }
}
