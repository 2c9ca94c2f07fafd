//! MaxViT (Tu et al., 2022, "MaxViT: Multi-Axis Vision Transformer") as torchvision defines it.
//!
//! Every map of a stage has to be a whole number of partitions, so that a network with partitions of
//! 7 and four stages takes images of multiples of 224.

use serde::{Deserialize, Serialize};

use super::bounds::{
    check_channels, check_length, check_probability, check_size, check_stages, scaled,
};
use crate::nn::{Builder, LastLayer};
use crate::ops::Start;
use crate::ops::activation::Activation;
use crate::ops::attention::{Attention, Bias, Form, Partition};
use crate::ops::avg_pool::AvgPool;
use crate::ops::batch_norm::BatchNorm;
use crate::ops::constant::Constant;
use crate::ops::conv2d::Conv2d;
use crate::ops::linear::Linear;
use crate::ops::multiply::Multiply;
use crate::tape::NodeId;
use crate::{Error, Result};

/// torchvision starts every convolution and linear layer so.
const START: Start = Start::Normal(0.02);

/// A MaxViT's numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MaxVit {
    /// Channels of the stem.
    stem: usize,
    /// Layers of each stage, each a convolution block, window attention and grid attention; the
    /// first of a stage halves the map.
    stages: Vec<usize>,
    /// Channels of each stage.
    widths: Vec<usize>,
    /// Height and width of a window, and of a grid, in tokens.
    partition: usize,
    /// Channels of an attention head.
    head_width: usize,
    /// Inner channels of a convolution block, as a multiple of its output's.
    expansion: f64,
    /// Channels of squeeze and excitation, as a multiple of the block's output's.
    squeeze: f64,
    /// Hidden channels of a perceptron, as a multiple of its input's.
    mlp_ratio: f64,
    /// Of the last layer; it grows from 0 in the first one.
    stochastic_depth: f32,
}

impl MaxVit {
    /// Records everything before the last layer.
    pub fn record(&self, b: &mut Builder<'_>, image: NodeId) -> Result<LastLayer> {
        self.check()?;
        let conv = Conv2d::square(b.map(image).channels, self.stem, 3, 2, 1);
        let x = b.conv("stem.0.0", Conv2d { start: START, ..conv }, image)?;
        let x = norm(b, "stem.0.1", x)?;
        let x = b.activate("stem.0.2", Activation::Gelu, x)?;
        let conv = Conv2d::square(self.stem, self.stem, 3, 1, 1);
        let mut x = b.conv("stem.1.0", Conv2d { bias: true, start: START, ..conv }, x)?;
        let last = self.stages.iter().sum::<usize>() - 1;
        let mut number = 0;
        for (stage, (layers, width)) in self.stages.iter().zip(&self.widths).enumerate() {
            for layer in 0..*layers {
                let depth = self.stochastic_depth * (number as f32 / last.max(1) as f32);
                let name = format!("blocks.{stage}.layers.{layer}.layers");
                let stride = if layer == 0 { 2 } else { 1 };
                x = self.record_convolutions(
                    b,
                    &format!("{name}.MBconv"),
                    *width,
                    stride,
                    depth,
                    x,
                )?;
                let size = [self.partition; 2];
                for (part, partition) in [
                    ("window_attention", Partition::Windows { size, shift: [0, 0] }),
                    ("grid_attention", Partition::Grid { size }),
                ] {
                    x = self.record_attention(b, &format!("{name}.{part}"), partition, depth, x)?;
                }
                number += 1;
            }
        }
        let x = b.adaptive_avg_pool("classifier.0", 1, x)?;
        let x = b.layer_norm("classifier.2", x)?;
        let width = b.map(x).channels;
        let x = b.linear("classifier.3", Linear::new(width, width, true).starting(START), x)?;
        let feature = b.activate("classifier.4", Activation::Tanh, x)?;
        Ok(LastLayer { name: "classifier.5".into(), bias: false, start: START, feature })
    }

    fn check(&self) -> Result<()> {
        check_channels("stem", self.stem)?;
        check_stages("stages", &self.stages)?;
        check_length("widths", self.widths.len(), self.stages.len())?;
        check_size("partition", self.partition)?;
        check_channels("head_width", self.head_width)?;
        check_probability("stochastic_depth", self.stochastic_depth)?;
        if self.partition > 32 {
            return Err(Error::usage("a MaxViT's partition has at most 32 tokens a side"));
        }
        for width in &self.widths {
            check_channels("widths", *width)?;
            if !width.is_multiple_of(self.head_width) {
                return Err(Error::usage(format!(
                    "a MaxViT's {width} channels can't be shared by heads of {}",
                    self.head_width
                )));
            }
        }
        Ok(())
    }

    /// The inverted residual with squeeze and excitation.
    fn record_convolutions(
        &self,
        b: &mut Builder<'_>,
        name: &str,
        width: usize,
        stride: usize,
        depth: f32,
        input: NodeId,
    ) -> Result<NodeId> {
        let at = |part: &str| format!("{name}.{part}");
        let channels = b.map(input).channels;
        let inner = scaled("expansion", width, self.expansion)?;
        let squeezed = scaled("squeeze", width, self.squeeze)?;
        let conv = |inputs, outputs, kernel, stride| Conv2d {
            start: START,
            ..Conv2d::square(inputs, outputs, kernel, stride, kernel / 2)
        };
        let x = norm(b, &at("layers.pre_norm"), input)?;
        let x = b.conv(&at("layers.conv_a.0"), conv(channels, inner, 1, 1), x)?;
        let x = norm(b, &at("layers.conv_a.1"), x)?;
        let x = b.activate(&at("layers.conv_a.2"), Activation::Gelu, x)?;
        let depthwise = Conv2d { groups: inner, ..conv(inner, inner, 3, stride) };
        let x = b.conv(&at("layers.conv_b.0"), depthwise, x)?;
        let x = norm(b, &at("layers.conv_b.1"), x)?;
        let x = b.activate(&at("layers.conv_b.2"), Activation::Gelu, x)?;

        let se = |part: &str| at(&format!("layers.squeeze_excitation.{part}"));
        let s = b.adaptive_avg_pool(&se("avgpool"), 1, x)?;
        let s = b.conv(&se("fc1"), Conv2d { bias: true, ..conv(inner, squeezed, 1, 1) }, s)?;
        let s = b.activate(&se("activation"), Activation::Silu, s)?;
        let s = b.conv(&se("fc2"), Conv2d { bias: true, ..conv(squeezed, inner, 1, 1) }, s)?;
        let s = b.activate(&se("scale_activation"), Activation::Sigmoid, s)?;
        let x = b.record(&se("scale"), Multiply::new(), &[x, s])?;

        let branch = Conv2d { bias: true, ..conv(inner, width, 1, 1) };
        let branch = b.conv(&at("layers.conv_c"), branch, x)?;
        let mut shortcut = input;
        if stride != 1 || channels != width {
            let mut place = 0;
            if stride == 2 {
                shortcut = b.record(&at("proj.0"), AvgPool::square(3, 2, 1), &[shortcut])?;
                place = 1;
            }
            let proj = Conv2d { bias: true, ..conv(channels, width, 1, 1) };
            shortcut = b.conv(&at(&format!("proj.{place}")), proj, shortcut)?;
        }
        b.add_branch(&at("add"), shortcut, branch, depth)
    }

    /// Attention and a perceptron, each behind a layer norm and added to its input.
    fn record_attention(
        &self,
        b: &mut Builder<'_>,
        name: &str,
        partition: Partition,
        depth: f32,
        x: NodeId,
    ) -> Result<NodeId> {
        let at = |part: &str| format!("{name}.{part}");
        let map = b.map(x);
        let whole = |size: usize| size.is_multiple_of(self.partition);
        if !(whole(map.height) && whole(map.width)) {
            return Err(Error::shape(
                b.name(name),
                format!(
                    "a map of {}×{} isn't made of whole partitions of {size}×{size}: choose an \
                     image size whose stages are multiples of {size} (224 where it is 7 and there \
                     are four)",
                    map.height,
                    map.width,
                    size = self.partition
                ),
            ));
        }
        let channels = map.channels;
        let heads = channels / self.head_width;
        let linear = |inputs, outputs| Linear::new(inputs, outputs, true).starting(START);
        let normed = b.layer_norm(&at("attn_layer.0"), x)?;
        let qkv = b.linear(&at("attn_layer.1.to_qkv"), linear(channels, 3 * channels), normed)?;
        let table = Constant::position_bias([self.partition; 2], heads);
        let table = b.constant(&at("attn_layer.1.relative_position_bias_table"), table)?;
        let attention = Attention {
            heads,
            // All channels, not a head's.
            form: Form::Dot { scale: (channels as f64).powf(-0.5) as f32 },
            partition,
            bias: Some(Bias::Plain),
        };
        let branch = b.record(&at("attn_layer.1"), attention, &[qkv, table])?;
        let branch = b.linear(&at("attn_layer.1.merge"), linear(channels, channels), branch)?;
        let x = b.add_branch(&at("add1"), x, branch, depth)?;

        let hidden = scaled("mlp_ratio", channels, self.mlp_ratio)?;
        let branch = b.layer_norm(&at("mlp_layer.0"), x)?;
        let branch = b.linear(&at("mlp_layer.1"), linear(channels, hidden), branch)?;
        let branch = b.activate(&at("mlp_layer.2"), Activation::Gelu, branch)?;
        let branch = b.linear(&at("mlp_layer.3"), linear(hidden, channels), branch)?;
        b.add_branch(&at("add2"), x, branch, depth)
    }
}

/// Batch norm with MaxViT's constants.
fn norm(b: &mut Builder<'_>, name: &str, x: NodeId) -> Result<NodeId> {
    let norm = BatchNorm { eps: 1e-3, momentum: 0.01, ..BatchNorm::new(b.map(x).channels) };
    b.record(name, norm, &[x])
}
