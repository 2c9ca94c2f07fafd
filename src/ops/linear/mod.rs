//! Linear layer: y\[n\] = bias\[n\] + Σ_c x\[c\] · w\[c, n\], at every pixel of the map.
//!
//! That is a convolution with a kernel of 1×1, and is computed by it; what differs is the weight's
//! shape in a state dict, (O, I), and how it starts. Weights are stored (I, O).
//!
//! Two further forms read a patch of the map as one long input, without a copy: the whole map, as
//! after PyTorch's `flatten`, and 2×2 patches, as Swin's patch merging. Each is a convolution whose
//! kernel is the patch; the weight's columns are permuted on their way in and out.

use std::any::Any;

use super::conv2d::{Conv2d, cpu, cuda};
use super::{
    Cost, KernelVariant, Layout, Op, ParamSpec, PassBytes, SavedForBackward, Sites, Start, passes,
};
use crate::Result;
use crate::number::Compute;
use crate::tensor::{Map, Region, Span, Spec};

/// A linear layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    conv: Conv2d,
    layout: Layout,
}

impl Linear {
    /// A layer of `inputs` → `outputs`, with or without bias.
    pub const fn new(inputs: usize, outputs: usize, bias: bool) -> Self {
        let conv =
            Conv2d { bias, start: Start::PyTorch, ..Conv2d::square(inputs, outputs, 1, 1, 0) };
        Linear { conv, layout: Layout::GemmB }
    }

    /// A layer that reads all of a map: PyTorch's `flatten(1)` and a `Linear`.
    pub const fn flattened(map: Map, outputs: usize, bias: bool) -> Self {
        let Map { height, width, channels } = map;
        let kernel = [height, width];
        let conv = Conv2d {
            kernel,
            bias,
            start: Start::PyTorch,
            ..Conv2d::square(channels, outputs, 1, 1, 0)
        };
        Linear { conv, layout: Layout::Flattened { pixels: map.pixels() } }
    }

    /// A layer that reads 2×2 patches of a map of even sizes: Swin's patch merging.
    pub const fn patch_merging(channels: usize, outputs: usize) -> Self {
        let conv = Conv2d { start: Start::PyTorch, ..Conv2d::square(channels, outputs, 2, 2, 0) };
        Linear { conv, layout: Layout::Merged }
    }

    /// The same, starting otherwise than PyTorch's `nn.Linear`.
    pub const fn starting(self, start: Start) -> Self {
        Linear { conv: Conv2d { start, ..self.conv }, ..self }
    }

    /// The same, called as a bare function in PyTorch, where forward hooks don't see it.
    pub const fn functional(self) -> Self {
        Linear { conv: Conv2d { functional: true, ..self.conv }, ..self }
    }

    /// The same with outputs `from..to` whose bias is there but counts as zero: the keys of Swin
    /// V2's attention.
    pub const fn silence_bias(self, from: usize, to: usize) -> Self {
        Linear { conv: Conv2d { silent_bias: Span::new(from, to), ..self.conv }, ..self }
    }
}

/// The convolution that an operation is, if it is one; a linear layer is.
pub fn as_conv2d(op: &dyn Op) -> Option<&Conv2d> {
    let op: &dyn Any = op;
    op.downcast_ref::<Linear>().map(|linear| &linear.conv).or_else(|| op.downcast_ref())
}

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for Linear {
    passes!("linear", op => &op.conv);

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        self.conv.output(inputs)
    }

    fn params(&self) -> Vec<ParamSpec> {
        let mut params = self.conv.params();
        params[0].shape = vec![self.conv.out_channels, self.conv.terms()];
        params[0].layout = self.layout;
        params
    }

    fn needs(&self) -> SavedForBackward {
        self.conv.needs()
    }

    fn bytes(&self, inputs: &[Spec], batch: usize, training: bool) -> PassBytes {
        self.conv.bytes(inputs, batch, training)
    }

    fn cost(&self, inputs: &[Spec]) -> Cost {
        self.conv.cost(inputs)
    }

    fn reach(&self, input: usize, region: Region, inputs: &[Spec], output: &Spec) -> Region {
        self.conv.reach(input, region, inputs, output)
    }

    fn sites(&self, inputs: &[Spec]) -> Sites {
        self.conv.sites(inputs)
    }

    fn variant(&self, inputs: &[Spec], compute: Compute) -> Option<KernelVariant> {
        self.conv.variant(inputs, compute)
    }
}
