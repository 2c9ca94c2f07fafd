//! Arguments and grid of `kernels/sgd.cu`.

use super::{Arenas, Sgd};
use crate::Result;
use crate::device::Device;
use crate::kernel_args;
use crate::ops::place;

kernel_args! {
    pub struct SgdStepArgs {
        pub values: u64,
        pub gradients: u64,
        pub buffers: u64,
        pub decays: u64,
        pub factor: u64,
        pub state: u64,
        pub count: u64,
        pub momentum: f32,
        pub nesterov: u32,
    }
}

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
        decays: arenas.decays,
        factor: arenas.factor,
        state,
        count: arenas.count as u64,
        momentum: options.momentum,
        nesterov: options.nesterov.into(),
    };
    // SAFETY: the caller's.
    unsafe { device.launch("sgd_step_f32", place::quad_grid(arenas.count), place::BLOCK, &args) }
}
