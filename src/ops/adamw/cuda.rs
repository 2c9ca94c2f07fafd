//! The arguments of `kernels/optim/adamw.cu`.

use super::AdamW;
use crate::device::args::{AdamWStepArgs, StepArenas};

pub const KERNEL: &str = "adamw_step_f32";

pub fn args(arenas: StepArenas, options: &AdamW) -> AdamWStepArgs {
    let [mix1, beta2, mix2, eps] = options.rounded();
    AdamWStepArgs { arenas, mix1, beta2, mix2, eps }
}
