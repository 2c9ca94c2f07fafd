//! SiLU (Elfwing et al., 2018): y = x · σ(x), σ(x) = 1 / (1 + e^−x).

mod cpu;
mod cuda;

use super::case::{CaseInput, OpCase};
use super::{Backward, Forward, Needs, Op, Step};
use crate::Result;
use crate::tensor::{Map, Region, Spec};

pub use cuda::{SiluBackwardArgs, SiluForwardArgs};

/// The sigmoid-weighted linear unit.
#[derive(Clone, Copy, Debug)]
pub struct Silu;

impl Op for Silu {
    fn kind(&self) -> &'static str {
        "silu"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        Ok(inputs[0])
    }

    fn needs(&self) -> Needs {
        Needs { inputs: vec![true], output: false }
    }

    fn reach(&self, _input: usize, region: Region, _inputs: &[Spec], _output: &Spec) -> Region {
        region
    }

    fn is_step(&self) -> bool {
        true
    }

    fn step<'a>(&self, _params: &[&'a [f32]], _other: Option<&'a [f32]>) -> Option<Step<'a>> {
        Some(Step::Activate(super::epilogue::Activation::Silu))
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
    vec![OpCase::new("map", Silu, vec![CaseInput::uniform(Map::new(3, 5, 21))], 2)]
}
