//! Softmax over the channels of each pixel: y = e^(x − m) / Σ e^(x − m), where m is the largest x.

mod cpu;
mod cuda;

use super::case::{CaseInput, OpCase};
use super::{HostBackward, HostForward, KernelBackward, KernelForward, Needs, Op};
use crate::Result;
use crate::tensor::{Map, Region, Spec};

/// Softmax over channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax;

impl Op for Softmax {
    fn kind(&self) -> &'static str {
        "softmax"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        Ok(inputs[0])
    }

    fn needs(&self) -> Needs {
        Needs { inputs: vec![false], output: true }
    }

    fn reach(&self, _input: usize, region: Region, _inputs: &[Spec], output: &Spec) -> Region {
        region.all_channels(output.map.channels)
    }

    fn forward(&self, ctx: &mut HostForward<'_>) -> Result<()> {
        cpu::forward(ctx)
    }

    fn backward(&self, ctx: &mut HostBackward<'_>) -> Result<()> {
        cpu::backward(ctx)
    }

    fn launch_forward(&self, ctx: &KernelForward<'_>) -> Result<()> {
        cuda::forward(ctx)
    }

    fn launch_backward(&self, ctx: &KernelBackward<'_>) -> Result<()> {
        cuda::backward(ctx)
    }
}

/// Cases for tests.
pub fn cases() -> Vec<OpCase> {
    vec![
        OpCase::new("map", Softmax, vec![CaseInput::uniform(Map::new(4, 3, 21))], 3),
        OpCase::new("rows", Softmax, vec![CaseInput::uniform(Map::new(3, 3, 76))], 2),
        OpCase::new("long rows", Softmax, vec![CaseInput::uniform(Map::vector(1000))], 3),
        OpCase::new("one channel", Softmax, vec![CaseInput::uniform(Map::new(2, 2, 1))], 1),
    ]
}
