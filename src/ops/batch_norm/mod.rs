//! Batch normalisation: y = (x − mean\[c\]) / sqrt(var\[c\] + eps) · weight\[c\] + bias\[c\]
//! (Ioffe & Szegedy, 2015), as PyTorch's `BatchNorm2d`.
//!
//! In training, mean and variance are those of all pixels of all valid images; the running ones
//! move towards them, the variance by its unbiased value. In eval mode the running ones are used,
//! as scale = weight / sqrt(var + eps), shift = bias − mean · scale, y = fmaf(x, scale, shift), in
//! f32 and rounded after each step, which is what a fused epilogue computes, too.
//!
//! Sums over pixels are of f64 (products of two f32 are exact in it), so that one pass over the
//! data gives mean and variance: Σx and Σx². Both passes have the shape *sums per channel*, then
//! *elementwise from the sums and their count*; batch statistics over several GPUs reduce the sums
//! and the count in between.

mod cpu;
mod cuda;

use super::{
    DeviceStep, ForwardPass, HostBackward, HostForward, Init, KernelBackward, KernelForward,
    Layout, Op, ParamSpec, Role, SavedForBackward, Step, StepKind,
};
use crate::tensor::{Region, Spec, Tensor};
use crate::{Error, Result};

/// Batch normalisation over `channels`. Parameters: weight, bias; state: running_mean,
/// running_var, num_batches_tracked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    pub channels: usize,
    /// Added to the variance.
    pub eps: f32,
    /// The weight of a batch in the running statistics.
    pub momentum: f32,
}

/// Places of the parameters.
const WEIGHT: usize = 0;
const BIAS: usize = 1;
const RUNNING_MEAN: usize = 2;
const RUNNING_VAR: usize = 3;
const NUM_BATCHES_TRACKED: usize = 4;

impl BatchNorm {
    /// PyTorch's defaults: eps 1e-5, momentum 0.1.
    pub const fn new(channels: usize) -> Self {
        BatchNorm { channels, eps: 1e-5, momentum: 0.1 }
    }

    /// The variance of one value is undefined, as PyTorch says, too.
    fn require_several(&self, pass: &ForwardPass<'_>) -> Result<()> {
        let (node, images, map) = (pass.node, pass.images(), pass.output_map());
        if !pass.training() || images * map.pixels() > 1 {
            return Ok(());
        }
        let detail = "training needs more than one value per channel: more images or pixels";
        Err(Error::shape(node, format!("{detail}, its input is {images} × {map}")))
    }
}

impl Op for BatchNorm {
    fn kind(&self) -> &'static str {
        "batch_norm"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let map = inputs[0].map;
        if map.channels != self.channels {
            let detail = format!("takes {} channels, its input is {map}", self.channels);
            return Err(Error::shape("batch_norm", detail));
        }
        Ok(Spec::f32(map))
    }

    fn params(&self) -> Vec<ParamSpec> {
        let param = |name, role, value| ParamSpec {
            name,
            shape: if role == Role::Counter { vec![] } else { vec![self.channels] },
            role,
            layout: Layout::Plain,
            init: Init::Constant(value),
        };
        vec![
            param("weight", Role::Norm, 1.0),
            param("bias", Role::Norm, 0.0),
            param("running_mean", Role::Buffer, 0.0),
            param("running_var", Role::Buffer, 1.0),
            param("num_batches_tracked", Role::Counter, 0.0),
        ]
    }

    fn needs(&self) -> SavedForBackward {
        SavedForBackward { inputs: vec![true], output: false }
    }

    /// Mean and 1/sqrt(var + eps) of each channel.
    fn saved_bytes(&self, _inputs: &[Spec], _batch: usize) -> usize {
        8 * self.channels
    }

    fn workspace_bytes(&self, _inputs: &[Spec], _batch: usize, training: bool) -> usize {
        if training { cuda::workspace_bytes(self.channels) } else { 0 }
    }

    fn reach(&self, _input: usize, region: Region, _inputs: &[Spec], _output: &Spec) -> Region {
        region
    }

    /// In eval mode, where it is a multiplication and an addition.
    fn step_kind(&self) -> Option<StepKind> {
        Some(StepKind::Affine)
    }

    fn step<'a>(&self, params: &[&'a [f32]], _other: Option<&'a [f32]>) -> Option<Step<'a>> {
        let params = [WEIGHT, BIAS, RUNNING_MEAN, RUNNING_VAR].map(|index| params[index]);
        let (scale, shift) = cpu::scale_and_shift(self.eps, params);
        Some(Step::Affine { scale, shift })
    }

    fn device_step(&self, params: &[Tensor], _other: Option<Tensor>) -> Option<DeviceStep> {
        let [weight, bias, mean, var] =
            [WEIGHT, BIAS, RUNNING_MEAN, RUNNING_VAR].map(|index| params[index].address);
        Some(DeviceStep::Affine { weight, bias, mean, var, eps: self.eps })
    }

    fn forward(&self, ctx: &mut HostForward<'_>) -> Result<()> {
        self.require_several(ctx)?;
        cpu::forward(self, ctx)
    }

    fn backward(&self, ctx: &mut HostBackward<'_>) -> Result<()> {
        cpu::backward(self, ctx)
    }

    fn launch_forward(&self, ctx: &KernelForward<'_>) -> Result<()> {
        self.require_several(ctx)?;
        cuda::forward(self, ctx)
    }

    fn launch_backward(&self, ctx: &KernelBackward<'_>) -> Result<()> {
        cuda::backward(self, ctx)
    }
}
