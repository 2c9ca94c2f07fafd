//! Arguments and grid of `kernels/optim/adamw.cu`.

use super::{AdamW, Arenas};
use crate::Result;
use crate::device::Device;
use crate::device::args::AdamWStepArgs;
use crate::ops::place;

/// # Safety
/// As the operation's own [`step`](super::step).
pub unsafe fn step(device: &Device, arenas: &Arenas, state: u64, options: &AdamW) -> Result<()> {
    if arenas.count == 0 {
        return Ok(());
    }
    let [mix1, beta2, mix2, eps] = options.rounded();
    let args = AdamWStepArgs {
        values: arenas.values,
        gradients: arenas.gradients,
        averages: arenas.moments[0],
        squares: arenas.moments[1],
        blocks: arenas.blocks,
        factor: arenas.factor,
        state,
        count: arenas.count as u64,
        max_value: arenas.max_value,
        unused: 0,
        mix1,
        beta2,
        mix2,
        eps,
    };
    // SAFETY: the caller's.
    unsafe { device.launch("adamw_step_f32", place::quad_grid(arenas.count), place::BLOCK, &args) }
}
