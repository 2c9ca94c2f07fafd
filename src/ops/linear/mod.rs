//! Linear layer: y\[n\] = bias\[n\] + Σ_c x\[c\] · w\[c, n\], at every pixel of the map.
//!
//! That is a convolution with a kernel of 1×1, and is computed by it; what differs is the weight's
//! shape in a state dict, (O, I), and how it starts. Weights are stored (I, O).

use super::case::{CaseInput, OpCase};
use super::conv2d::Conv2d;
use super::{Backward, Cost, Forward, GemmView, Init, Needs, Op, ParamSpec};
use crate::Result;
use crate::tensor::{Map, Region, Spec};

/// A linear layer of `inputs` → `outputs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    conv: Conv2d,
}

impl Linear {
    /// A layer with or without bias.
    pub const fn new(inputs: usize, outputs: usize, bias: bool) -> Self {
        Linear { conv: Conv2d { bias, ..Conv2d::square(inputs, outputs, 1, 1, 0) } }
    }
}

impl Op for Linear {
    fn kind(&self) -> &'static str {
        "linear"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        self.conv.output(inputs)
    }

    /// Initialised as PyTorch's `nn.Linear`: uniform in ±1/√inputs.
    fn params(&self) -> Vec<ParamSpec> {
        let bound = 1.0 / (self.conv.in_channels as f32).sqrt();
        let mut params = self.conv.params();
        for param in &mut params {
            param.shape.truncate(2);
            param.init = Init::Uniform(bound);
        }
        params
    }

    fn needs(&self) -> Needs {
        self.conv.needs()
    }

    fn workspace_bytes(&self, inputs: &[Spec], batch: usize, training: bool) -> usize {
        self.conv.workspace_bytes(inputs, batch, training)
    }

    fn cost(&self, inputs: &[Spec]) -> Cost {
        self.conv.cost(inputs)
    }

    fn reach(&self, input: usize, region: Region, inputs: &[Spec], output: &Spec) -> Region {
        self.conv.reach(input, region, inputs, output)
    }

    fn gemm_view(&self, inputs: &[Spec]) -> Option<GemmView> {
        self.conv.gemm_view(inputs)
    }

    fn forward(&self, ctx: &mut Forward<'_>) -> Result<()> {
        self.conv.forward(ctx)
    }

    fn backward(&self, ctx: &mut Backward<'_>) -> Result<()> {
        self.conv.backward(ctx)
    }
}

/// Cases for tests and benchmarks.
pub fn cases() -> Vec<OpCase> {
    [
        ("vector", Linear::new(37, 10, true), Map::vector(37)),
        ("no bias", Linear::new(64, 65, false), Map::vector(64)),
        ("map", Linear::new(9, 5, true), Map::new(3, 4, 9)),
    ]
    .into_iter()
    .map(|(name, op, map)| OpCase::new(name, op, vec![CaseInput::uniform(map)], 5))
    .collect()
}

/// Layers of AlexNet, VGG-16, ResNet-50 and Swin V2 (a map of tokens), to be timed.
pub fn benchmarks() -> Vec<OpCase> {
    [
        ("2048 to 1000", 2048, 1000, 1, 128),
        ("25088 to 4096", 25088, 4096, 1, 8),
        ("9216 to 4096", 9216, 4096, 1, 8),
        ("4096 to 1000, one image", 4096, 1000, 1, 1),
        ("96 to 384, 64²", 96, 384, 64, 8),
        ("768 to 192, 32²", 768, 192, 32, 8),
        ("768 to 3072, 8²", 768, 3072, 8, 8),
    ]
    .into_iter()
    .map(|(name, inputs, outputs, side, batch)| {
        let input = vec![CaseInput::uniform(Map::new(side, side, inputs))];
        OpCase::new(name, Linear::new(inputs, outputs, true), input, batch)
    })
    .collect()
}
