//! 2-D convolution: y\[p, o\] = bias\[o\] + Σ_{r, s, c} x\[p·stride − padding + (r, s)·dilation, c\] ·
//! w\[r, s, c, o\], by groups of channels. Any kernel size, stride, padding, dilation and groups.
//!
//! Padding taps multiply by zero (0·Inf = NaN). Weights are stored (R, S, C/groups, O).

mod args;
pub mod check;
pub(super) mod cpu;
pub(super) mod cuda;
mod depthwise;
mod depthwise_cuda;
mod depthwise_tiles;
mod exact_tiles;
mod library;
mod scan;
mod symbols;
mod tensor_core;

use std::borrow::Cow;

use super::window::Window;
use super::{
    Cost, GemmView, KernelVariant, Layout, Op, ParamSpec, PassBytes, Role, SavedForBackward, Sites,
    Start, passes,
};
use crate::number::Compute;
use crate::tensor::{Map, Region, Span, Spec};
use crate::{Error, Result};

pub use library::{LayerPass, ProductOperands};
use tensor_core::TensorCores;

/// A convolution's numbers. Pairs are (rows, columns).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2d {
    pub in_channels: usize,
    pub out_channels: usize,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    pub dilation: [usize; 2],
    pub groups: usize,
    pub bias: bool,
    /// Outputs whose bias counts as zero, and gets no gradient.
    pub silent_bias: Span,
    pub start: Start,
    /// Whether it is called as a bare function in PyTorch, where forward hooks don't see it.
    pub functional: bool,
}

impl Conv2d {
    /// A square kernel with one stride and padding; no dilation, groups or bias.
    pub const fn square(
        in_channels: usize,
        out_channels: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Self {
        Conv2d {
            in_channels,
            out_channels,
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [padding; 2],
            dilation: [1; 2],
            groups: 1,
            bias: false,
            silent_bias: Span::new(0, 0),
            start: Start::HeNormal,
            functional: false,
        }
    }

    /// Kernel positions.
    pub(crate) const fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Input channels of a group.
    pub(crate) const fn group_inputs(&self) -> usize {
        self.in_channels / self.groups
    }

    /// Output channels of a group.
    pub(crate) const fn group_outputs(&self) -> usize {
        self.out_channels / self.groups
    }

    /// The window of its kernel.
    const fn window(&self) -> Window {
        let Conv2d { kernel, stride, padding, dilation, .. } = *self;
        Window { kernel, stride, padding, dilation }
    }

    /// The output map for an input map.
    pub(crate) fn output_map(&self, input: Map) -> Result<Map> {
        let positive =
            [self.groups, self.kernel[0], self.kernel[1], self.stride[0], self.stride[1]]
                .iter()
                .chain(&self.dilation)
                .all(|n| *n > 0);
        if !positive
            || !self.in_channels.is_multiple_of(self.groups)
            || !self.out_channels.is_multiple_of(self.groups)
        {
            return Err(Error::shape("conv2d", format!("is impossible: {self:?}")));
        }
        if input.channels != self.in_channels {
            return Err(Error::shape(
                "conv2d",
                format!("takes {} channels, its input is {input}", self.in_channels),
            ));
        }
        let window = self.window();
        match (window.output_size(0, input.height), window.output_size(1, input.width)) {
            (Some(height), Some(width)) => Ok(Map::new(height, width, self.out_channels)),
            _ => Err(Error::shape(
                "conv2d",
                format!("a kernel of {:?} doesn't fit an input of {input}", self.kernel),
            )),
        }
    }

    /// The bias as it is added.
    pub(crate) fn effective_bias<'a>(&self, bias: &'a [f32]) -> Cow<'a, [f32]> {
        if self.silent_bias.is_empty() {
            return Cow::Borrowed(bias);
        }
        let mut heard = bias.to_vec();
        heard[self.silent_bias.range()].fill(0.0);
        Cow::Owned(heard)
    }

    /// Terms of a sum, padding taps counted.
    pub(crate) const fn terms(&self) -> usize {
        self.taps() * self.group_inputs()
    }
}

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for Conv2d {
    passes!("conv2d", op => op);

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        self.output_map(inputs[0].map).map(Spec::f32)
    }

    fn params(&self) -> Vec<ParamSpec> {
        let fan_out = self.out_channels * self.taps() / self.groups;
        let (weight, bias) = self.start.inits(self.terms(), fan_out);
        let mut params = vec![ParamSpec {
            name: "weight",
            shape: vec![self.out_channels, self.group_inputs(), self.kernel[0], self.kernel[1]],
            role: Role::Weight,
            layout: Layout::GemmB,
            init: weight,
        }];
        if self.bias {
            params.push(ParamSpec::plain("bias", vec![self.out_channels], Role::Bias, bias));
        }
        params
    }

    fn needs(&self) -> SavedForBackward {
        SavedForBackward { inputs: vec![true], output: false }
    }

    /// The transposed weights, for the gradient of the input (CPU), or parts of the parameters'
    /// gradients (kernels).
    fn bytes(&self, inputs: &[Spec], batch: usize, training: bool) -> PassBytes {
        if !training {
            return PassBytes::default();
        }
        let pixels = self.output_map(inputs[0].map).map_or(0, |map| batch * map.pixels());
        let transposed = 4 * self.terms() * self.out_channels;
        let parts = tensor_core::workspace_bytes(self, pixels);
        let workspace = transposed.max(cuda::workspace_bytes(self, pixels)).max(parts);
        PassBytes { saved: 0, workspace }
    }

    fn cost(&self, inputs: &[Spec]) -> Cost {
        let written = self.output(inputs).map_or(0, |spec| spec.map.elements());
        Cost {
            macs: (written * self.terms()) as u64,
            bytes: (inputs[0].image_bytes() + 4 * written) as u64,
        }
    }

    fn reach(&self, _input: usize, region: Region, _inputs: &[Spec], output: &Spec) -> Region {
        // A group's outputs read all of the group's inputs.
        let first = region.channels.start / self.group_inputs();
        let last = region.channels.end.div_ceil(self.group_inputs());
        let channels = Span::new(first * self.group_outputs(), last * self.group_outputs());
        Region { channels, ..self.window().reach(region, output.map) }
    }

    fn sites(&self, inputs: &[Spec]) -> Sites {
        let input = inputs[0].map;
        let Ok(map) = self.output_map(input) else { return Sites::None };
        Sites::Product {
            view: GemmView { m: map.pixels(), n: map.channels, k: self.terms() },
            input,
            shares_operands: !depthwise_cuda::applies(self),
            is_hooked: !self.functional,
        }
    }

    fn variant(&self, inputs: &[Spec], compute: Compute) -> Option<KernelVariant> {
        let output = self.output_map(inputs[0].map).ok()?;
        Some(match TensorCores::of(self, compute) {
            Some(cores) => cores.variant(self, output),
            None => cuda::variant(self, output),
        })
    }
}
