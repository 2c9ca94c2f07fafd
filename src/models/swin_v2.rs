//! Swin Transformer V2 (Liu et al., 2022, "Swin Transformer V2: Scaling Up Capacity and Resolution")
//! as torchvision defines it.
//!
//! Maps whose sizes are no multiples of the window are padded with zeros at the bottom and the right
//! before queries, keys and values are made of them, and cropped behind the projection. A window as
//! large as the padded map isn't shifted.

use serde::{Deserialize, Serialize};

use super::bounds::{
    check_channels, check_length, check_probability, check_size, check_stages, check_window, scaled,
};
use crate::nn::{Builder, LastLayer};
use crate::ops::Start;
use crate::ops::activation::Activation;
use crate::ops::attention::{Attention, Bias, Form, Partition};
use crate::ops::canvas::PadCrop;
use crate::ops::constant::Constant;
use crate::ops::conv2d::Conv2d;
use crate::ops::linear::Linear;
use crate::tape::NodeId;
use crate::{Error, Result};

/// Width of the hidden layer that makes position biases of coordinates.
const POSITION_WIDTH: usize = 512;
/// torchvision starts every linear layer so.
const START: Start = Start::TruncatedNormal(0.02);

/// A Swin V2's numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SwinV2 {
    /// Height and width of the patches that become tokens.
    patch: usize,
    /// Channels of the first stage; each later one has twice as many.
    width: usize,
    /// Blocks of each stage.
    stages: Vec<usize>,
    /// Attention heads of each stage.
    heads: Vec<usize>,
    /// Height and width of a window, in tokens.
    window: usize,
    /// Hidden channels of a block's perceptron, as a multiple of its channels.
    mlp_ratio: f64,
    /// Of the last block; it grows from 0 in the first one.
    stochastic_depth: f32,
}

/// One block's numbers.
struct BlockSizes {
    name: String,
    heads: usize,
    shifted: bool,
    depth: f32,
}

impl SwinV2 {
    /// Records everything before the last layer.
    pub fn record(&self, b: &mut Builder<'_>, image: NodeId) -> Result<LastLayer> {
        self.check()?;
        let conv = Conv2d::square(b.map(image).channels, self.width, self.patch, self.patch, 0);
        let conv = Conv2d { bias: true, start: Start::PyTorch, ..conv };
        let x = b.conv("features.0.0", conv, image)?;
        let mut x = b.layer_norm("features.0.2", x)?;
        let last_block = self.stages.iter().sum::<usize>() - 1;
        let mut number = 0;
        for (stage, (blocks, heads)) in self.stages.iter().zip(&self.heads).enumerate() {
            if stage > 0 {
                x = merge_patches(b, &format!("features.{}", 2 * stage), x)?;
            }
            for block in 0..*blocks {
                let share = number as f32 / last_block.max(1) as f32;
                let block = BlockSizes {
                    name: format!("features.{}.{block}", 2 * stage + 1),
                    heads: *heads,
                    shifted: block % 2 == 1,
                    depth: self.stochastic_depth * share,
                };
                x = self.record_block(b, &block, x)?;
                number += 1;
            }
        }
        let x = b.layer_norm("norm", x)?;
        let feature = b.adaptive_avg_pool("avgpool", 1, x)?;
        Ok(LastLayer { name: "head".into(), bias: true, start: START, feature })
    }

    fn check(&self) -> Result<()> {
        check_window("the patches", self.patch, self.patch, 0)?;
        check_channels("width", self.width)?;
        check_stages("stages", &self.stages)?;
        check_length("heads", self.heads.len(), self.stages.len())?;
        check_channels("width of the last stage", self.width << (self.stages.len() - 1))?;
        check_size("window", self.window)?;
        check_probability("stochastic_depth", self.stochastic_depth)?;
        if !(2..=32).contains(&self.window) {
            return Err(Error::usage("a Swin V2's window has between 2 and 32 tokens a side"));
        }
        for (stage, heads) in self.heads.iter().enumerate() {
            let width = self.width << stage;
            if *heads == 0 || !width.is_multiple_of(*heads) {
                return Err(Error::usage(format!(
                    "a Swin V2's {width} channels can't be shared by {heads} heads"
                )));
            }
        }
        Ok(())
    }

    /// x + norm1(attention(x)), then the same with the perceptron.
    fn record_block(&self, b: &mut Builder<'_>, block: &BlockSizes, x: NodeId) -> Result<NodeId> {
        let at = |part: &str| format!("{}.{part}", block.name);
        let channels = b.map(x).channels;
        let branch = self.record_attention(b, &at("attn"), block, x)?;
        let branch = b.layer_norm(&at("norm1"), branch)?;
        let x = b.add_branch(&at("add1"), x, branch, block.depth)?;

        let hidden = scaled("mlp_ratio", channels, self.mlp_ratio)?;
        let branch =
            b.linear(&at("mlp.0"), Linear::new(channels, hidden, true).starting(START), x)?;
        let branch = b.activate(&at("mlp.1"), Activation::Gelu, branch)?;
        let linear = Linear::new(hidden, channels, true).starting(START);
        let branch = b.linear(&at("mlp.3"), linear, branch)?;
        let branch = b.layer_norm(&at("norm2"), branch)?;
        b.add_branch(&at("add2"), x, branch, block.depth)
    }

    /// Cosine attention in windows, with position biases made of relative coordinates.
    fn record_attention(
        &self,
        b: &mut Builder<'_>,
        name: &str,
        block: &BlockSizes,
        x: NodeId,
    ) -> Result<NodeId> {
        let at = |part: &str| format!("{name}.{part}");
        let (map, window) = (b.map(x), [self.window; 2]);
        let padded = [map.height, map.width].map(|size| size.next_multiple_of(self.window));
        let shift = padded
            .map(|size| if block.shifted && self.window < size { self.window / 2 } else { 0 });
        let is_whole = padded == [map.height, map.width];
        let tokens = if is_whole {
            x
        } else {
            let [height, width] = padded;
            b.record(&at("pad"), PadCrop { height, width }, &[x])?
        };
        let channels = map.channels;
        let qkv = Linear::new(channels, 3 * channels, true)
            .starting(START)
            .silence_bias(channels, 2 * channels)
            .functional();
        let qkv = b.linear(&at("qkv"), qkv, tokens)?;
        let bias = record_position_bias(b, name, window, block.heads)?;
        let attention = Attention {
            heads: block.heads,
            form: Form::Cosine,
            partition: Partition::Windows { size: window, shift },
            bias: Some(Bias::Sigmoid16),
        };
        let attended = b.record(name, attention, &[qkv, bias])?;
        let proj = Linear::new(channels, channels, true).starting(START).functional();
        let projected = b.linear(&at("proj"), proj, attended)?;
        if is_whole {
            return Ok(projected);
        }
        b.record(&at("crop"), PadCrop { height: map.height, width: map.width }, &[projected])
    }
}

/// Two linear layers on a table of relative coordinates: one map for all images.
fn record_position_bias(
    b: &mut Builder<'_>,
    name: &str,
    window: [usize; 2],
    heads: usize,
) -> Result<NodeId> {
    let at = |part: &str| format!("{name}.{part}");
    let table = b.constant(&at("relative_coords_table"), Constant::log_coordinates(window))?;
    let inner = Linear::new(2, POSITION_WIDTH, true).starting(START);
    let inner = b.linear(&at("cpb_mlp.0"), inner, table)?;
    // A ReLU in the smooth twin, too: it sees no image.
    let inner = b.record(&at("cpb_mlp.1"), Activation::Relu, &[inner])?;
    let outer = Linear::new(POSITION_WIDTH, heads, false).starting(START);
    b.linear(&at("cpb_mlp.2"), outer, inner)
}

/// Every 2×2 patch becomes a token of twice the channels; odd sizes are padded with zeros.
fn merge_patches(b: &mut Builder<'_>, name: &str, x: NodeId) -> Result<NodeId> {
    let map = b.map(x);
    let [height, width] = [map.height, map.width].map(|size| size.next_multiple_of(2));
    let x = if [height, width] == [map.height, map.width] {
        x
    } else {
        b.record(&format!("{name}.pad"), PadCrop { height, width }, &[x])?
    };
    let reduction = Linear::patch_merging(map.channels, 2 * map.channels).starting(START);
    let x = b.linear(&format!("{name}.reduction"), reduction, x)?;
    b.layer_norm(&format!("{name}.norm"), x)
}
