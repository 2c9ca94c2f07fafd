//! FocalNet (Yang et al., 2022, "Focal Modulation Networks") as its authors and timm define it; names
//! are timm's.

use serde::{Deserialize, Serialize};

use super::bounds::{
    check_channels, check_length, check_probability, check_stages, check_window, scaled,
};
use crate::Result;
use crate::nn::{Builder, LastLayer};
use crate::ops::Start;
use crate::ops::activation::Activation;
use crate::ops::conv2d::Conv2d;
use crate::ops::gated_sum::GatedSum;
use crate::ops::multiply::Multiply;
use crate::ops::slice::Slice;
use crate::tape::NodeId;
use crate::tensor::Span;

/// Every convolution and linear layer starts so.
const START: Start = Start::TruncatedNormal(0.02);

/// A FocalNet's numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FocalNet {
    /// Height and width of the patches that become tokens.
    patch: usize,
    /// Channels of the first stage; each later one has twice as many.
    width: usize,
    /// Blocks of each stage.
    stages: Vec<usize>,
    /// Focal levels of each stage: depthwise convolutions of growing kernels.
    levels: Vec<usize>,
    /// Kernel of the first level of each stage; each further level's is larger by two.
    windows: Vec<usize>,
    /// Hidden channels of a block's perceptron, as a multiple of its channels.
    mlp_ratio: f64,
    /// Of the last block; it grows from 0 in the first one.
    stochastic_depth: f32,
}

impl FocalNet {
    /// Records everything before the last layer.
    pub fn record(&self, b: &mut Builder<'_>, image: NodeId) -> Result<LastLayer> {
        self.check()?;
        let mut x = embed(b, "stem", self.width, self.patch, image)?;
        let last = self.stages.iter().sum::<usize>() - 1;
        let mut number = 0;
        for (stage, blocks) in self.stages.iter().enumerate() {
            if stage > 0 {
                x = embed(b, &format!("layers.{stage}.downsample"), self.width << stage, 2, x)?;
            }
            for block in 0..*blocks {
                let depth = self.stochastic_depth * (number as f32 / last.max(1) as f32);
                x = self.record_block(
                    b,
                    &format!("layers.{stage}.blocks.{block}"),
                    stage,
                    depth,
                    x,
                )?;
                number += 1;
            }
        }
        let x = b.layer_norm("norm", x)?;
        let feature = b.adaptive_avg_pool("head.global_pool", 1, x)?;
        Ok(LastLayer { name: "head.fc".into(), bias: true, start: START, feature })
    }

    fn check(&self) -> Result<()> {
        check_window("the patches", self.patch, self.patch, 0)?;
        check_channels("width", self.width)?;
        check_stages("stages", &self.stages)?;
        check_stages("levels", &self.levels)?;
        check_length("levels", self.levels.len(), self.stages.len())?;
        check_length("windows", self.windows.len(), self.stages.len())?;
        check_channels("width of the last stage", self.width << (self.stages.len() - 1))?;
        check_probability("stochastic_depth", self.stochastic_depth)?;
        for (window, levels) in self.windows.iter().zip(&self.levels) {
            let largest = window.saturating_add(2 * (levels - 1));
            check_window("a focal level", largest, 1, largest / 2)?;
            check_window("the first focal level", *window, 1, 0)?;
        }
        Ok(())
    }

    fn record_block(
        &self,
        b: &mut Builder<'_>,
        name: &str,
        stage: usize,
        depth: f32,
        x: NodeId,
    ) -> Result<NodeId> {
        let at = |part: &str| format!("{name}.{part}");
        let channels = b.map(x).channels;
        let normed = b.layer_norm(&at("norm1"), x)?;
        let branch = self.record_modulation(b, &at("modulation"), stage, normed)?;
        let x = b.add_branch(&at("add1"), x, branch, depth)?;

        let hidden = scaled("mlp_ratio", channels, self.mlp_ratio)?;
        let normed = b.layer_norm(&at("norm2"), x)?;
        let branch = b.conv(&at("mlp.fc1"), pointwise(channels, hidden), normed)?;
        let branch = b.activate(&at("mlp.act"), Activation::Gelu, branch)?;
        let branch = b.conv(&at("mlp.fc2"), pointwise(hidden, channels), branch)?;
        b.add_branch(&at("add2"), x, branch, depth)
    }

    /// One convolution makes queries, the first context and a gate for each level; each further
    /// context is a convolution of the one before; their gated sum, convolved, multiplies the
    /// queries.
    fn record_modulation(
        &self,
        b: &mut Builder<'_>,
        name: &str,
        stage: usize,
        x: NodeId,
    ) -> Result<NodeId> {
        let at = |part: &str| format!("{name}.{part}");
        let channels = b.map(x).channels;
        let levels = self.levels[stage];
        let f = b.conv(&at("f"), pointwise(channels, 2 * channels + levels + 1), x)?;
        let first = Slice { channels: Span::new(channels, 2 * channels) };
        let mut context = b.record(&at("ctx"), first, &[f])?;
        let mut inputs = vec![f];
        for level in 0..levels {
            let kernel = self.windows[stage] + 2 * level;
            let conv = Conv2d {
                groups: channels,
                start: START,
                ..Conv2d::square(channels, channels, kernel, 1, kernel / 2)
            };
            context = b.conv(&at(&format!("focal_layers.{level}.0")), conv, context)?;
            let act = at(&format!("focal_layers.{level}.1"));
            context = b.activate(&act, Activation::Gelu, context)?;
            inputs.push(context);
        }
        let mean = b.adaptive_avg_pool(&at("ctx_mean"), 1, context)?;
        inputs.push(b.activate(&at("act"), Activation::Gelu, mean)?);
        let sum = b.record(&at("ctx_all"), GatedSum::new(2 * channels, levels), &inputs)?;
        let modulator = b.conv(&at("h"), pointwise(channels, channels), sum)?;
        let queries = Multiply::of_channels(Span::new(0, channels));
        let modulated = b.record(&at("x_out"), queries, &[f, modulator])?;
        b.conv(&at("proj"), pointwise(channels, channels), modulated)
    }
}

/// A 1×1 convolution with bias.
fn pointwise(inputs: usize, outputs: usize) -> Conv2d {
    Conv2d { bias: true, start: START, ..Conv2d::square(inputs, outputs, 1, 1, 0) }
}

/// Patches become tokens: a convolution without overlap, and a layer norm.
fn embed(b: &mut Builder<'_>, name: &str, width: usize, patch: usize, x: NodeId) -> Result<NodeId> {
    let conv = Conv2d::square(b.map(x).channels, width, patch, patch, 0);
    let x = b.conv(&format!("{name}.proj"), Conv2d { bias: true, start: START, ..conv }, x)?;
    b.layer_norm(&format!("{name}.norm"), x)
}
