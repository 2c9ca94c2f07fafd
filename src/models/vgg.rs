//! VGG with batch norm (Simonyan and Zisserman, 2015, "Very Deep Convolutional Networks for
//! Large-Scale Image Recognition") as torchvision defines it.

use serde::{Deserialize, Serialize};

use super::bounds::{check_channels, check_size, check_stages};
use super::classifier::{Hidden, Order};
use crate::Result;
use crate::nn::{Builder, LastLayer};
use crate::ops::Start;
use crate::ops::activation::Activation;
use crate::ops::conv2d::Conv2d;
use crate::tape::NodeId;

/// A VGG's numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Vgg {
    /// Channels of the 3×3 convolutions of each stage; a maximum halves the map behind each stage.
    stages: Vec<Vec<usize>>,
    /// Height and width of the map that the classifier reads.
    pooled: usize,
    /// Widths of the linear layers before the last one.
    hidden: Vec<usize>,
    dropout: f32,
}

impl Vgg {
    /// Records everything before the last layer.
    pub fn record(&self, b: &mut Builder<'_>, image: NodeId) -> Result<LastLayer> {
        let blocks: Vec<usize> = self.stages.iter().map(Vec::len).collect();
        check_stages("stages", &blocks)?;
        check_size("pooled", self.pooled)?;
        let mut x = image;
        let mut place = 0;
        for stage in &self.stages {
            for channels in stage {
                check_channels("stages", *channels)?;
                let name = |part: usize| format!("features.{}", place + part);
                let conv = Conv2d::square(b.map(x).channels, *channels, 3, 1, 1);
                x = b.conv(&name(0), Conv2d { bias: true, ..conv }, x)?;
                x = b.batch_norm(&name(1), x)?;
                x = b.activate(&name(2), Activation::Relu, x)?;
                place += 3;
            }
            x = b.max_pool(&format!("features.{place}"), [2, 2, 0], x)?;
            place += 1;
        }
        let x = b.adaptive_avg_pool("avgpool", self.pooled, x)?;
        let hidden = Hidden {
            widths: &self.hidden,
            dropout: self.dropout,
            order: Order::DropoutLast,
            start: Start::Normal(0.01),
        };
        hidden.record(b, x)
    }
}
