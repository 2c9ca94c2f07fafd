//! AlexNet (Krizhevsky, 2014, "One weird trick for parallelizing convolutional neural networks") as
//! torchvision defines it.

use serde::{Deserialize, Serialize};

use super::bounds::{self, check_channels, check_count};
use super::classifier::{Hidden, Order};
use crate::nn::{Builder, LastLayer};
use crate::ops::Start;
use crate::ops::activation::Activation;
use crate::ops::conv2d::Conv2d;
use crate::tape::NodeId;
use crate::{Error, Result};

/// One convolution with its ReLU.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Convolution {
    channels: usize,
    kernel: usize,
    #[serde(default = "one")]
    stride: usize,
    padding: usize,
    /// Whether a 3×3 maximum of stride 2 follows.
    #[serde(default)]
    pool: bool,
}

fn one() -> usize {
    1
}

/// An AlexNet's numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AlexNet {
    convolutions: Vec<Convolution>,
    /// Height and width of the map that the classifier reads.
    pooled: usize,
    /// Widths of the linear layers before the last one.
    hidden: Vec<usize>,
    dropout: f32,
}

impl AlexNet {
    /// Records everything before the last layer.
    pub fn record(&self, b: &mut Builder<'_>, image: NodeId) -> Result<LastLayer> {
        check_count("convolutions", self.convolutions.len())?;
        bounds::check_size("pooled", self.pooled)?;
        let mut x = image;
        let mut place = 0;
        for layer in &self.convolutions {
            let Convolution { channels, kernel, stride, padding, pool } = *layer;
            check_channels("a convolution", channels)?;
            bounds::check_window("a convolution", kernel, stride, padding)?;
            let conv = Conv2d::square(b.map(x).channels, channels, kernel, stride, padding);
            let conv = Conv2d { bias: true, start: Start::PyTorch, ..conv };
            x = b.conv(&format!("features.{place}"), conv, x)?;
            x = b.activate(&format!("features.{}", place + 1), Activation::Relu, x)?;
            place += 2;
            if pool {
                x = b.max_pool(&format!("features.{place}"), [3, 2, 0], x)?;
                place += 1;
            }
        }
        if place == 0 {
            return Err(Error::usage("an AlexNet needs a convolution"));
        }
        let x = b.adaptive_avg_pool("avgpool", self.pooled, x)?;
        let hidden = Hidden {
            widths: &self.hidden,
            dropout: self.dropout,
            order: Order::DropoutFirst,
            start: Start::PyTorch,
        };
        hidden.record(b, x)
    }
}
