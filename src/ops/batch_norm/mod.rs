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

use super::{ForwardPass, Init, Op, ParamSpec, PassBytes, Role, SavedForBackward, Step, passes};
use crate::tensor::{Region, Spec};
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

/// Those that eval mode reads.
pub(super) const EVAL_PARAMS: [usize; 4] = [WEIGHT, BIAS, RUNNING_MEAN, RUNNING_VAR];

impl BatchNorm {
    /// PyTorch's defaults: eps 1e-5, momentum 0.1.
    pub const fn new(channels: usize) -> Self {
        BatchNorm { channels, eps: 1e-5, momentum: 0.1 }
    }

    /// Eval mode's scale and shift, from [`EVAL_PARAMS`].
    pub(super) fn scale_and_shift(&self, params: [&[f32]; 4]) -> (Vec<f32>, Vec<f32>) {
        let [weight, bias, mean, var] = params;
        let scale = weight.iter().zip(var).map(|(w, var)| w / (var + self.eps).sqrt());
        let scale: Vec<f32> = scale.collect();
        let shift = (0..scale.len()).map(|c| bias[c] - mean[c] * scale[c]).collect();
        (scale, shift)
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

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for BatchNorm {
    passes!("batch_norm", op => op);

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let map = inputs[0].map;
        if map.channels != self.channels {
            let detail = format!("takes {} channels, its input is {map}", self.channels);
            return Err(Error::shape("batch_norm", detail));
        }
        Ok(Spec::f32(map))
    }

    fn params(&self) -> Vec<ParamSpec> {
        let param = |name, role, value| {
            let shape = if role == Role::Counter { vec![] } else { vec![self.channels] };
            ParamSpec::plain(name, shape, role, Init::Constant(value))
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

    /// Mean and 1/sqrt(var + eps) of each channel are saved.
    fn bytes(&self, _inputs: &[Spec], _batch: usize, training: bool) -> PassBytes {
        let workspace = if training { cuda::workspace_bytes(self.channels) } else { 0 };
        PassBytes { saved: 8 * self.channels, workspace }
    }

    fn reach(&self, _input: usize, region: Region, _inputs: &[Spec], _output: &Spec) -> Region {
        region
    }

    /// A multiplication and an addition.
    fn step(&self) -> Option<Step> {
        Some(Step::Norm(*self))
    }
}
