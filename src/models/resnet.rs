//! ResNet (He et al., 2016, "Deep Residual Learning for Image Recognition") as torchvision
//! defines it: the stride sits in the 3×3 convolution of a bottleneck.

use serde::{Deserialize, Serialize};

use crate::nn::{Activation, Builder, StemPool};
use crate::ops::adaptive_avg_pool::AdaptiveAvgPool;
use crate::ops::avg_pool::AvgPool;
use crate::ops::conv2d::Conv2d;
use crate::ops::max_pool::MaxPool;
use crate::tape::NodeId;
use crate::{Error, Result};

/// The residual block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Block {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1, 3×3, 1×1 to four times the width.
    Bottleneck,
}

/// What stands before the stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Stem {
    /// 7×7, stride 2, and a 3×3 pool of stride 2: for 224×224.
    ImageNet,
    /// 3×3, stride 1: for 32×32.
    Small,
}

/// No network is wider; sizes computed from it can't overflow.
const MAX_WIDTH: usize = 1 << 16;
/// Nor is any deeper, all its stages together; recording takes a time in proportion to the square.
const MAX_BLOCKS: usize = 512;

/// A ResNet's numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResNet {
    block: Block,
    /// Blocks of each stage; every stage but the first halves the map.
    stages: Vec<usize>,
    /// Width of each stage.
    widths: Vec<usize>,
    stem: Stem,
    #[serde(default)]
    pub activation: Activation,
    #[serde(default)]
    stem_pool: StemPool,
}

impl ResNet {
    pub fn smooth_twin(&self) -> ResNet {
        ResNet { activation: Activation::Silu, stem_pool: StemPool::Average, ..self.clone() }
    }

    /// Records everything before the last layer `fc`.
    pub fn record(&self, b: &mut Builder<'_>, image: NodeId) -> Result<(&'static str, NodeId)> {
        if self.stages.is_empty() || self.stages.len() != self.widths.len() {
            return Err(Error::usage("a ResNet needs as many widths as stages, at least one"));
        }
        if self.widths.iter().any(|width| !(1..=MAX_WIDTH).contains(width)) {
            return Err(Error::usage(format!("a ResNet's widths lie between 1 and {MAX_WIDTH}")));
        }
        let blocks = self.stages.iter().try_fold(0usize, |sum, n| sum.checked_add(*n));
        if blocks.is_none_or(|blocks| blocks > MAX_BLOCKS) {
            return Err(Error::usage(format!("a ResNet has at most {MAX_BLOCKS} blocks")));
        }
        let mut x = self.record_stem(b, image)?;
        for (stage, (blocks, width)) in self.stages.iter().zip(&self.widths).enumerate() {
            for block in 0..*blocks {
                let stride = if block == 0 && stage > 0 { 2 } else { 1 };
                let name = format!("layer{}.{block}", stage + 1);
                x = self.record_block(b, &name, *width, stride, x)?;
            }
        }
        let pooled = b.tape.record(&b.name("avgpool"), AdaptiveAvgPool { output: [1, 1] }, &[x])?;
        Ok(("fc", pooled))
    }

    fn record_stem(&self, b: &mut Builder<'_>, image: NodeId) -> Result<NodeId> {
        let conv = match self.stem {
            Stem::ImageNet => Conv2d::square(3, self.widths[0], 7, 2, 3),
            Stem::Small => Conv2d::square(3, self.widths[0], 3, 1, 1),
        };
        let x = b.conv("conv1", conv, image)?;
        let x = b.batch_norm("bn1", x)?;
        let x = b.activate("relu", x)?;
        let name = b.name("maxpool");
        match (self.stem, self.stem_pool) {
            (Stem::Small, _) => Ok(x),
            (Stem::ImageNet, StemPool::Max) => b.tape.record(&name, MaxPool::square(3, 2, 1), &[x]),
            (Stem::ImageNet, StemPool::Average) => {
                b.tape.record(&name, AvgPool::square(3, 2, 1), &[x])
            }
        }
    }

    fn record_block(
        &self,
        b: &mut Builder<'_>,
        name: &str,
        width: usize,
        stride: usize,
        input: NodeId,
    ) -> Result<NodeId> {
        let channels = b.tape.node(input).spec.map.channels;
        let at = |part: &str| format!("{name}.{part}");
        let (convs, outputs) = match self.block {
            Block::Basic => (
                vec![
                    Conv2d::square(channels, width, 3, stride, 1),
                    Conv2d::square(width, width, 3, 1, 1),
                ],
                width,
            ),
            Block::Bottleneck => (
                vec![
                    Conv2d::square(channels, width, 1, 1, 0),
                    Conv2d::square(width, width, 3, stride, 1),
                    Conv2d::square(width, 4 * width, 1, 1, 0),
                ],
                4 * width,
            ),
        };
        let mut x = input;
        let last = convs.len();
        for (index, conv) in (1..).zip(convs) {
            x = b.conv(&at(&format!("conv{index}")), conv, x)?;
            x = b.batch_norm(&at(&format!("bn{index}")), x)?;
            if index < last {
                x = b.activate(&at(&format!("relu{index}")), x)?;
            }
        }
        let mut shortcut = input;
        if stride != 1 || channels != outputs {
            let conv = Conv2d::square(channels, outputs, 1, stride, 0);
            shortcut = b.conv(&at("downsample.0"), conv, shortcut)?;
            shortcut = b.batch_norm(&at("downsample.1"), shortcut)?;
        }
        let sum = b.add(&at("add"), x, shortcut)?;
        b.activate(&at("relu"), sum)
    }
}
