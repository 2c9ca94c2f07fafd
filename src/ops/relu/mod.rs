//! ReLU: y = max(x, 0); NaN stays NaN, as in PyTorch.

mod cpu;
mod cuda;

use super::case::{CaseInput, OpCase};
use super::{Backward, Forward, Needs, Op, Step};
use crate::Result;
use crate::tensor::{Map, Region, Spec};

pub use cuda::{ReluBackwardArgs, ReluForwardArgs};

/// The rectified linear unit.
#[derive(Clone, Copy, Debug)]
pub struct Relu;

impl Op for Relu {
    fn kind(&self) -> &'static str {
        "relu"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        Ok(inputs[0])
    }

    fn needs(&self) -> Needs {
        Needs { inputs: vec![false], output: true }
    }

    fn reach(&self, _input: usize, region: Region, _inputs: &[Spec], _output: &Spec) -> Region {
        region
    }

    fn is_step(&self) -> bool {
        true
    }

    fn step<'a>(&self, _params: &[&'a [f32]], _other: Option<&'a [f32]>) -> Option<Step<'a>> {
        Some(Step::Activate(super::epilogue::Activation::Relu))
    }

    fn forward(&self, ctx: &mut Forward<'_>) -> Result<()> {
        if ctx.device.is_cpu() { cpu::forward(ctx) } else { cuda::forward(ctx) }
    }

    fn backward(&self, ctx: &mut Backward<'_>) -> Result<()> {
        if ctx.device.is_cpu() { cpu::backward(ctx) } else { cuda::backward(ctx) }
    }
}

/// Cases for tests and benchmarks.
pub fn cases() -> Vec<OpCase> {
    vec![
        OpCase::new("map", Relu, vec![CaseInput::uniform(Map::new(5, 7, 19))], 3),
        OpCase::new("vector", Relu, vec![CaseInput::uniform(Map::vector(3))], 1).eval(),
    ]
}

/// A layer of ResNet-50, to be timed.
pub fn benchmarks() -> Vec<OpCase> {
    vec![OpCase::new("256, 56²", Relu, vec![CaseInput::uniform(Map::new(56, 56, 256))], 8)]
}
