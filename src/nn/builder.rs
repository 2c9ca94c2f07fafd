//! Recording layers under a prefix.

use std::sync::Arc;

use crate::Result;
use crate::ops::Op;
use crate::ops::activation::Activation;
use crate::ops::adaptive_avg_pool::AdaptiveAvgPool;
use crate::ops::add::Add;
use crate::ops::avg_pool::AvgPool;
use crate::ops::batch_norm::BatchNorm;
use crate::ops::constant::Constant;
use crate::ops::conv2d::Conv2d;
use crate::ops::dropout::Dropout;
use crate::ops::layer_norm::LayerNorm;
use crate::ops::linear::Linear;
use crate::ops::max_pool::MaxPool;
use crate::tape::{NodeId, Tape};
use crate::tensor::Map;

/// Records layers on a tape; every name is under `prefix` (empty, or ending in a dot).
///
/// The *smooth twin* of a network has SiLU for ReLU and ReLU6, an average for a maximum, and neither
/// dropout nor stochastic depth: its gradients have no kinks and nothing random, so that they can be
/// compared with another implementation's.
pub struct Builder<'t> {
    pub tape: &'t mut Tape,
    pub prefix: String,
    /// Whether the network's smooth twin is recorded.
    pub smooth: bool,
}

impl Builder<'_> {
    /// The full name of `name`.
    pub fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The map of a value.
    pub fn map(&self, x: NodeId) -> Map {
        self.tape.node(x).spec.map
    }

    /// Any operation.
    pub fn record(
        &mut self,
        name: &str,
        op: impl Op + 'static,
        inputs: &[NodeId],
    ) -> Result<NodeId> {
        self.tape.record(&self.name(name), op, inputs)
    }

    /// A table as a value; `name` is the parameter's, too.
    pub fn constant(&mut self, name: &str, table: Constant) -> Result<NodeId> {
        let name = self.name(name);
        self.tape.record_shared(&name, Arc::new(table), &[], Some(&[&name]))
    }

    /// A convolution.
    pub fn conv(&mut self, name: &str, conv: Conv2d, x: NodeId) -> Result<NodeId> {
        self.record(name, conv, &[x])
    }

    /// A linear layer.
    pub fn linear(&mut self, name: &str, linear: Linear, x: NodeId) -> Result<NodeId> {
        self.record(name, linear, &[x])
    }

    /// A batch norm with PyTorch's constants.
    pub fn batch_norm(&mut self, name: &str, x: NodeId) -> Result<NodeId> {
        let norm = BatchNorm::new(self.map(x).channels);
        self.record(name, norm, &[x])
    }

    /// A layer norm over the channels of each pixel, eps 1e-5.
    pub fn layer_norm(&mut self, name: &str, x: NodeId) -> Result<NodeId> {
        let norm = LayerNorm::new(self.map(x).channels);
        self.record(name, norm, &[x])
    }

    /// A nonlinearity.
    pub fn activate(&mut self, name: &str, kind: Activation, x: NodeId) -> Result<NodeId> {
        let kind = match kind {
            Activation::Relu | Activation::Relu6 if self.smooth => Activation::Silu,
            kind => kind,
        };
        self.record(name, kind, &[x])
    }

    /// A square maximum.
    pub fn max_pool(
        &mut self,
        name: &str,
        [kernel, stride, padding]: [usize; 3],
        x: NodeId,
    ) -> Result<NodeId> {
        if self.smooth {
            return self.record(name, AvgPool::square(kernel, stride, padding), &[x]);
        }
        self.record(name, MaxPool::square(kernel, stride, padding), &[x])
    }

    /// The mean of each of `output` × `output` parts of the map; nothing where it has that size.
    pub fn adaptive_avg_pool(&mut self, name: &str, output: usize, x: NodeId) -> Result<NodeId> {
        let map = self.map(x);
        if [map.height, map.width] == [output; 2] {
            return Ok(x);
        }
        self.record(name, AdaptiveAvgPool { output: [output; 2] }, &[x])
    }

    /// Dropout.
    pub fn dropout(&mut self, name: &str, p: f32, x: NodeId) -> Result<NodeId> {
        if self.smooth || p == 0.0 {
            return Ok(x);
        }
        self.record(name, Dropout { p }, &[x])
    }

    /// An addition.
    pub fn add(&mut self, name: &str, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.add_branch(name, a, b, 0.0)
    }

    /// `x` and a branch that training leaves out of an image with probability `depth`.
    pub fn add_branch(
        &mut self,
        name: &str,
        x: NodeId,
        branch: NodeId,
        depth: f32,
    ) -> Result<NodeId> {
        let depth = if self.smooth { 0.0 } else { depth };
        self.record(name, Add::with_depth(depth), &[x, branch])
    }
}
