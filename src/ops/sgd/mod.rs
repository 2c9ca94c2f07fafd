//! Stochastic gradient descent with momentum, Nesterov's too, and weight decay, in PyTorch's
//! formula: d = g + decay·p; b = d in the first step, else momentum·b + d; the step is d +
//! momentum·b (Nesterov) or b; p −= rate·step. No operation of the tape: it runs once over the
//! arena of trained parameters.

mod cpu;
mod cuda;

use super::RunState;
use crate::Result;
use crate::device::Device;

pub use cuda::SgdStepArgs;

/// The numbers of a step; the learning rate is in [`RunState`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    pub momentum: f32,
    pub weight_decay: f32,
    pub nesterov: bool,
    /// Whether the momentum buffer holds nothing yet.
    pub first_step: bool,
}

/// Where the arenas of one step lie, each of `count` f32s.
#[derive(Clone, Copy, Debug)]
pub struct Arenas {
    pub values: u64,
    pub gradients: u64,
    pub momentum: u64,
    pub count: usize,
}

/// One step on `device`. Kernels read the learning rate at `state_address`; the CPU from `state`.
///
/// # Safety
/// The arenas are memory of `device`, alive, apart from each other, and in nobody else's use.
pub unsafe fn step(
    device: &Device,
    arenas: &Arenas,
    state: &RunState,
    state_address: u64,
    options: &Sgd,
) -> Result<()> {
    if device.is_cpu() {
        // SAFETY: the caller's.
        unsafe { cpu::step(arenas, state.learning_rate, options) };
        return Ok(());
    }
    cuda::step(device, arenas, state_address, options)
}
