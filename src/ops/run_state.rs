//! What changes from one replay of a launch to the next.

use bytemuck::{Pod, Zeroable};

/// Kernels read these from device memory, since arguments by value are frozen when a CUDA graph
/// is captured. `kernels/common/run_state.cuh` has the same struct.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct RunState {
    /// Key of random masks.
    pub seed: u64,
    pub epoch: u64,
    /// Images of the batch that are valid; kernels leave the others alone.
    pub images: u32,
    /// 1 while training.
    pub training: u32,
    pub learning_rate: f32,
    /// Step of the run, from 0. At step 0 an optimiser's memory holds nothing yet.
    pub step: u32,
    /// AdamW's 1 − β₁^(step + 1); the host takes the power in f64, as for the next field.
    pub bias_correction1: f32,
    /// √(1 − β₂^(step + 1)).
    pub sqrt_bias_correction2: f32,
}
