//! The arguments of `kernels/optim/sgd.cu`.

use super::Sgd;
use crate::device::args::{SgdStepArgs, StepArenas};

pub const KERNEL: &str = "sgd_step_f32";

pub fn args(arenas: StepArenas, options: &Sgd) -> SgdStepArgs {
    SgdStepArgs { arenas, momentum: options.momentum, nesterov: options.nesterov.into() }
}
