//! Addition: y = a + b, of two values of one shape.

mod cpu;
mod cuda;

use super::case::{CaseInput, OpCase};
use super::{Backward, Forward, Needs, Op, Step};
use crate::tensor::{Map, Region, Spec};
use crate::{Error, Result};

pub use cuda::{AddBackwardArgs, AddForwardArgs};

/// The sum of two values.
#[derive(Clone, Copy, Debug)]
pub struct Add;

impl Op for Add {
    fn kind(&self) -> &'static str {
        "add"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        if inputs[0] != inputs[1] {
            let (a, b) = (inputs[0].map, inputs[1].map);
            return Err(Error::shape("add", format!("{a} and {b} can't be added")));
        }
        Ok(inputs[0])
    }

    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn reach(&self, _input: usize, region: Region, _inputs: &[Spec], _output: &Spec) -> Region {
        region
    }

    fn is_step(&self) -> bool {
        true
    }

    fn step<'a>(&self, _params: &[&'a [f32]], other: Option<&'a [f32]>) -> Option<Step<'a>> {
        other.map(|values| Step::Add { values })
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
    let input = CaseInput::uniform(Map::new(4, 3, 17));
    vec![OpCase::new("map", Add, vec![input; 2], 3)]
}

/// A layer of ResNet-50, to be timed.
pub fn benchmarks() -> Vec<OpCase> {
    let input = CaseInput::uniform(Map::new(56, 56, 256));
    vec![OpCase::new("256, 56²", Add, vec![input; 2], 8)]
}
