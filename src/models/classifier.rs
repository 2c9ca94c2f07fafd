//! The classifier of AlexNet and VGG: linear layers over the flattened map, with ReLU and dropout.

use super::bounds::{check_channels, check_count, check_probability};
use crate::Result;
use crate::nn::{Builder, LastLayer};
use crate::ops::Start;
use crate::ops::activation::Activation;
use crate::ops::linear::Linear;
use crate::tape::NodeId;

/// In which order a hidden layer's parts come; decides the numbers in their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Dropout, linear, ReLU.
    DropoutFirst,
    /// Linear, ReLU, dropout.
    DropoutLast,
}

/// The hidden layers.
pub(super) struct Hidden<'a> {
    pub widths: &'a [usize],
    pub dropout: f32,
    pub order: Order,
    pub start: Start,
}

impl Hidden<'_> {
    /// Records them behind the map `x`; the last layer, which follows, is left to the head. The
    /// first linear layer reads all of the map.
    pub fn record(&self, b: &mut Builder<'_>, x: NodeId) -> Result<LastLayer> {
        check_count("hidden", self.widths.len())?;
        check_probability("dropout", self.dropout)?;
        let mut x = x;
        let (dropout, linear, relu) = match self.order {
            Order::DropoutFirst => (0, 1, 2),
            Order::DropoutLast => (2, 0, 1),
        };
        for (layer, width) in self.widths.iter().enumerate() {
            check_channels("hidden", *width)?;
            let name = |part: usize| format!("classifier.{}", 3 * layer + part);
            if self.order == Order::DropoutFirst {
                x = b.dropout(&name(dropout), self.dropout, x)?;
            }
            let op = Linear::flattened(b.map(x), *width, true).starting(self.start);
            x = b.linear(&name(linear), op, x)?;
            x = b.activate(&name(relu), Activation::Relu, x)?;
            if self.order == Order::DropoutLast {
                x = b.dropout(&name(dropout), self.dropout, x)?;
            }
        }
        let name = format!("classifier.{}", 3 * self.widths.len());
        Ok(LastLayer { name, bias: true, start: self.start, feature: x })
    }
}
