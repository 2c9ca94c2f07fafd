//! Arguments and grid of `kernels/optim/rmsprop.cu`.

use super::{Arenas, RmsProp};
use crate::Result;
use crate::device::Device;
use crate::device::args::RmsPropStepArgs;
use crate::ops::place;

/// # Safety
/// As the operation's own [`step`](super::step).
pub unsafe fn step(device: &Device, arenas: &Arenas, state: u64, options: &RmsProp) -> Result<()> {
    if arenas.count == 0 {
        return Ok(());
    }
    let (squares, buffers, averages) = options.split(arenas.moments);
    let [alpha, mix, eps] = options.rounded();
    let args = RmsPropStepArgs {
        values: arenas.values,
        gradients: arenas.gradients,
        squares,
        buffers: buffers.unwrap_or(0),
        averages: averages.unwrap_or(0),
        blocks: arenas.blocks,
        factor: arenas.factor,
        state,
        count: arenas.count as u64,
        max_value: arenas.max_value,
        alpha,
        mix,
        eps,
        momentum: options.momentum,
        tensorflow: options.tensorflow.into(),
    };
    // SAFETY: the caller's.
    unsafe {
        device.launch("rmsprop_step_f32", place::quad_grid(arenas.count), place::BLOCK, &args)
    }
}
