//! Stochastic gradient descent with momentum, Nesterov's too, and weight decay, in PyTorch's
//! formula: d = g + decay·p; b = d in step 0, else momentum·b + d; the step is d + momentum·b
//! (Nesterov) or b; p −= rate·step. No operation of the tape: it runs once over the arena of trained
//! parameters.

mod cpu;
mod cuda;

use super::{Arenas, RunState};
use crate::Result;
use crate::device::Device;

/// The numbers of a step; learning rate and step are in [`RunState`], decays, scales of the rate and
/// clipping in [`Arenas`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    pub momentum: f32,
    pub nesterov: bool,
}

/// One step on `device`; b is the first moment. Kernels read the state at `state_address`; the CPU
/// reads `state`.
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
    // SAFETY: the caller's.
    unsafe {
        if device.is_cpu() {
            cpu::step(arenas, state, options);
            return Ok(());
        }
        cuda::step(device, arenas, state_address, options)
    }
}
