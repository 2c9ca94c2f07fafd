//! ResNet (He et al., 2016, "Deep Residual Learning for Image Recognition") as torchvision
//! defines it: the stride sits in the 3×3 convolution of a bottleneck.

use serde::{Deserialize, Serialize};

use super::bounds::{check_channels, check_length, check_stages};
use crate::Result;
use crate::nn::{Builder, LastLayer};
use crate::ops::Start;
use crate::ops::activation::Activation;
use crate::ops::conv2d::Conv2d;
use crate::tape::NodeId;

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
}

impl ResNet {
    /// Records everything before the last layer.
    pub fn record(&self, b: &mut Builder<'_>, image: NodeId) -> Result<LastLayer> {
        check_stages("stages", &self.stages)?;
        check_length("widths", self.widths.len(), self.stages.len())?;
        self.widths.iter().try_for_each(|width| check_channels("widths", *width))?;
        let mut x = self.record_stem(b, image)?;
        for (stage, (blocks, width)) in self.stages.iter().zip(&self.widths).enumerate() {
            for block in 0..*blocks {
                let stride = if block == 0 && stage > 0 { 2 } else { 1 };
                let name = format!("layer{}.{block}", stage + 1);
                x = self.record_block(b, &name, *width, stride, x)?;
            }
        }
        let feature = b.adaptive_avg_pool("avgpool", 1, x)?;
        Ok(LastLayer { name: "fc".into(), bias: true, start: Start::PyTorch, feature })
    }

    fn record_stem(&self, b: &mut Builder<'_>, image: NodeId) -> Result<NodeId> {
        let conv = match self.stem {
            Stem::ImageNet => Conv2d::square(3, self.widths[0], 7, 2, 3),
            Stem::Small => Conv2d::square(3, self.widths[0], 3, 1, 1),
        };
        let x = b.conv("conv1", conv, image)?;
        let x = b.batch_norm("bn1", x)?;
        let x = b.activate("relu", Activation::Relu, x)?;
        match self.stem {
            Stem::Small => Ok(x),
            Stem::ImageNet => b.max_pool("maxpool", [3, 2, 1], x),
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
                x = b.activate(&at(&format!("relu{index}")), Activation::Relu, x)?;
            }
        }
        let mut shortcut = input;
        if stride != 1 || channels != outputs {
            let conv = Conv2d::square(channels, outputs, 1, stride, 0);
            shortcut = b.conv(&at("downsample.0"), conv, shortcut)?;
            shortcut = b.batch_norm(&at("downsample.1"), shortcut)?;
        }
        let sum = b.add(&at("add"), x, shortcut)?;
        b.activate(&at("relu"), Activation::Relu, sum)
    }
}
