//! MobileNetV2 (Sandler et al., 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks") as
//! torchvision defines it.

use serde::{Deserialize, Serialize};

use super::bounds::{check_channels, check_probability, check_stages, check_window, scaled};
use crate::Result;
use crate::nn::{Builder, LastLayer};
use crate::ops::Start;
use crate::ops::activation::Activation;
use crate::ops::conv2d::Conv2d;
use crate::tape::NodeId;

/// A run of inverted residuals.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stage {
    /// Channels inside a block, as a multiple of its input's.
    expansion: usize,
    /// Channels behind each block, before `width`.
    channels: usize,
    blocks: usize,
    /// Of the first block; the others' is 1.
    stride: usize,
}

/// A MobileNetV2's numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MobileNetV2 {
    /// Multiplies every number of channels, which is then rounded to a multiple of eight.
    width: f64,
    /// Channels and stride of the first convolution.
    stem: usize,
    stem_stride: usize,
    stages: Vec<Stage>,
    /// Channels of the last convolution; never fewer than at `width` 1.
    last: usize,
    dropout: f32,
}

impl MobileNetV2 {
    /// Records everything before the last layer.
    pub fn record(&self, b: &mut Builder<'_>, image: NodeId) -> Result<LastLayer> {
        let blocks: Vec<usize> = self.stages.iter().map(|stage| stage.blocks).collect();
        check_stages("stages", &blocks)?;
        check_probability("dropout", self.dropout)?;
        check_channels("stem", self.stem)?;
        check_channels("last", self.last)?;
        check_window("the stem", 3, self.stem_stride, 1)?;
        let stem = self.widened("stem", self.stem, self.width)?;
        let conv = Conv2d::square(b.map(image).channels, stem, 3, self.stem_stride, 1);
        let mut x = conv_norm_relu6(b, "features.0", conv, image)?;
        let mut place = 1;
        for stage in &self.stages {
            check_channels("channels", stage.channels)?;
            check_window("a stage", 3, stage.stride, 1)?;
            let channels = self.widened("channels", stage.channels, self.width)?;
            for block in 0..stage.blocks {
                let stride = if block == 0 { stage.stride } else { 1 };
                let name = format!("features.{place}");
                x = inverted_residual(b, &name, stage.expansion, channels, stride, x)?;
                place += 1;
            }
        }
        let last = self.widened("last", self.last, self.width.max(1.0))?;
        let conv = Conv2d::square(b.map(x).channels, last, 1, 1, 0);
        let x = conv_norm_relu6(b, &format!("features.{place}"), conv, x)?;
        let x = b.adaptive_avg_pool("avgpool", 1, x)?;
        let feature = b.dropout("classifier.0", self.dropout, x)?;
        let (name, start) = ("classifier.1".to_string(), Start::Normal(0.01));
        Ok(LastLayer { name, bias: true, start, feature })
    }

    /// `channels` times `width`, as the nearest multiple of eight that isn't below 90 % of it.
    fn widened(&self, what: &str, channels: usize, width: f64) -> Result<usize> {
        // Checked as a number; the rounding is of the unrounded product.
        scaled(what, channels, width)?;
        let exact = channels as f64 * width;
        let nearest = (((exact + 4.0) / 8.0).floor() * 8.0).max(8.0);
        let rounded = if nearest < 0.9 * exact { nearest + 8.0 } else { nearest };
        Ok(rounded as usize)
    }
}

/// `name.0` to `name.2`.
fn conv_norm_relu6(b: &mut Builder<'_>, name: &str, conv: Conv2d, x: NodeId) -> Result<NodeId> {
    let x = b.conv(&format!("{name}.0"), conv, x)?;
    let x = b.batch_norm(&format!("{name}.1"), x)?;
    b.activate(&format!("{name}.2"), Activation::Relu6, x)
}

/// Expansion, depthwise convolution, projection; added to its input where the shapes are one.
fn inverted_residual(
    b: &mut Builder<'_>,
    name: &str,
    expansion: usize,
    channels: usize,
    stride: usize,
    input: NodeId,
) -> Result<NodeId> {
    let inputs = b.map(input).channels;
    let inner = scaled("expansion", inputs, expansion as f64)?;
    let mut x = input;
    let mut part = 0;
    if expansion != 1 {
        x = conv_norm_relu6(
            b,
            &format!("{name}.conv.0"),
            Conv2d::square(inputs, inner, 1, 1, 0),
            x,
        )?;
        part += 1;
    }
    let depthwise = Conv2d { groups: inner, ..Conv2d::square(inner, inner, 3, stride, 1) };
    x = conv_norm_relu6(b, &format!("{name}.conv.{part}"), depthwise, x)?;
    let project = Conv2d::square(inner, channels, 1, 1, 0);
    x = b.conv(&format!("{name}.conv.{}", part + 1), project, x)?;
    x = b.batch_norm(&format!("{name}.conv.{}", part + 2), x)?;
    if stride == 1 && inputs == channels {
        return b.add(&format!("{name}.add"), input, x);
    }
    Ok(x)
}
