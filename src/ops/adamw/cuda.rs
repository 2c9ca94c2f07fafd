//! Arguments and grid of `kernels/adamw.cu`.

use super::{AdamW, Arenas};
use crate::Result;
use crate::device::Device;
use crate::kernel_args;
use crate::ops::place;

kernel_args! {
    pub struct AdamWStepArgs {
        pub values: u64,
        pub gradients: u64,
        pub averages: u64,
        pub squares: u64,
        pub decays: u64,
        pub factor: u64,
        pub state: u64,
        pub count: u64,
        /// 1 − β₁
        pub mix1: f32,
        pub beta2: f32,
        /// 1 − β₂
        pub mix2: f32,
        pub eps: f32,
    }
}

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
        decays: arenas.decays,
        factor: arenas.factor,
        state,
        count: arenas.count as u64,
        mix1,
        beta2,
        mix2,
        eps,
    };
    // SAFETY: the caller's.
    unsafe { device.launch("adamw_step_f32", place::quad_grid(arenas.count), place::BLOCK, &args) }
}
