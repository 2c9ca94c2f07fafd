//! The arguments of `kernels/optim/rmsprop.cu`.

use super::RmsProp;
use crate::device::args::{RmsPropStepArgs, StepArenas};

pub const KERNEL: &str = "rmsprop_step_f32";

pub fn args(arenas: StepArenas, options: &RmsProp) -> RmsPropStepArgs {
    let (squares, buffers, averages) = options.split(arenas.moments);
    let moments = [squares, buffers.unwrap_or(0), averages.unwrap_or(0)];
    let [alpha, mix, eps] = options.rounded();
    RmsPropStepArgs {
        arenas: StepArenas { moments, ..arenas },
        alpha,
        mix,
        eps,
        momentum: options.momentum,
        tensorflow: options.tensorflow.into(),
    }
}
