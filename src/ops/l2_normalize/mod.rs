//! L2 normalisation over channels: y = x / ‖x‖ at every pixel.
//!
//! ‖x‖² is a plain f32 sum in channel order that may overflow; then x/‖x‖ is 0. A zero vector gives
//! NaN. Nothing is added to the norm.

mod cpu;
mod cuda;

use super::{Backward, Forward, Op, SavedForBackward};
use crate::Result;
use crate::tensor::{Region, Spec};

pub use cuda::{L2NormalizeBackwardArgs, L2NormalizeForwardArgs};

/// Division by the length.
#[derive(Clone, Copy, Debug)]
pub struct L2Normalize;

impl Op for L2Normalize {
    fn kind(&self) -> &'static str {
        "l2_normalize"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        Ok(inputs[0])
    }

    fn needs(&self) -> SavedForBackward {
        SavedForBackward { inputs: vec![true], output: true }
    }

    fn reach(&self, _input: usize, region: Region, _inputs: &[Spec], output: &Spec) -> Region {
        region.all_channels(output.map.channels)
    }

    fn forward(&self, ctx: &mut Forward<'_>) -> Result<()> {
        if ctx.device.is_cpu() { cpu::forward(ctx) } else { cuda::forward(ctx) }
    }

    fn backward(&self, ctx: &mut Backward<'_>) -> Result<()> {
        if ctx.device.is_cpu() { cpu::backward(ctx) } else { cuda::backward(ctx) }
    }
}
