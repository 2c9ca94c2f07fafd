//! Recording layers under a prefix.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::ops::activation::Activation;
use crate::ops::add::Add;
use crate::ops::batch_norm::BatchNorm;
use crate::ops::conv2d::Conv2d;
use crate::tape::{NodeId, Tape};

/// How a stem shrinks its map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StemPool {
    #[default]
    Max,
    /// The smooth twin's.
    Average,
}

/// Records layers on a tape; every name is under `prefix` (empty, or ending in a dot).
pub struct Builder<'t> {
    pub tape: &'t mut Tape,
    pub prefix: String,
    pub activation: Activation,
}

impl Builder<'_> {
    /// The full name of `name`.
    pub fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A convolution.
    pub fn conv(&mut self, name: &str, conv: Conv2d, x: NodeId) -> Result<NodeId> {
        self.tape.record(&self.name(name), conv, &[x])
    }

    /// A batch norm.
    pub fn batch_norm(&mut self, name: &str, x: NodeId) -> Result<NodeId> {
        let channels = self.tape.node(x).spec.map.channels;
        self.tape.record(&self.name(name), BatchNorm::new(channels), &[x])
    }

    /// The network's nonlinearity.
    pub fn activate(&mut self, name: &str, x: NodeId) -> Result<NodeId> {
        self.tape.record(&self.name(name), self.activation, &[x])
    }

    /// An addition.
    pub fn add(&mut self, name: &str, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.tape.record(&self.name(name), Add::new(), &[a, b])
    }
}
