//! The recorded program: an append-only list of nodes, each an operation with its inputs, named
//! by its place in the model. From that one list come the passes, the memory plans, the counts,
//! and replay from any node.

mod armed;
mod batch;
mod execution;
mod faults;
mod flips;
mod graph;
mod lowering;
mod memory;
mod optimizer;
mod packed;
mod pass;
mod plan;
mod replay;
mod sensitivity;
mod tail;
mod timings;
mod weights;
mod words;

pub use armed::ParamHit;
pub use execution::{Execution, PassOptions};
pub use faults::{entries, format_at, weight_entry};
pub use flips::{BitFlip, FlipTarget};
pub use lowering::Lowering;
pub use optimizer::{Clipping, Optimizer, OptimizerOptions, Rule};
pub(crate) use packed::PackedWeights;
pub use plan::{MemoryPlan, PlanKind, Slot};
pub use replay::{Replay, Undo};
pub use timings::KindTime;
pub use weights::Weights;
pub use words::WordPlace;

use std::collections::HashSet;
use std::sync::Arc;

use crate::fault::{Addressed, Site};
use crate::ops::{GemmView, Op, ParamSpec, SavedForBackward, Sites};
use crate::tensor::Spec;
use crate::{Error, Result};

/// A node of the tape, and the value that it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// A parameter or piece of state of the tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParamId(pub usize);

/// One operation in its place. Inputs of the tape are nodes without an operation.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its place in the model: `backbone.layer1.0.conv1`.
    pub name: String,
    pub op: Option<Arc<dyn Op>>,
    pub inputs: Vec<NodeId>,
    pub params: Vec<ParamId>,
    pub spec: Spec,
    /// Whether training takes the gradient of this input of the tape.
    pub wants_gradient: bool,
}

/// A parameter of a node.
#[derive(Clone, Debug)]
pub struct Param {
    /// State-dict name, as PyTorch has it.
    pub name: String,
    pub spec: ParamSpec,
    /// Whether training leaves it as it is: see [`Tape::freeze`].
    pub frozen: bool,
}

impl Param {
    /// Whether gradients are taken of it.
    pub fn is_trained(&self) -> bool {
        self.spec.role.is_trained() && !self.frozen
    }
}

/// A layer that faults can be injected into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injectable {
    pub node: NodeId,
    /// State-dict name of the layer.
    pub name: String,
    /// Kind of its operation: `conv2d` or `linear`.
    pub kind: &'static str,
    pub gemm: GemmView,
    /// Multiply-accumulates of one image.
    pub macs: u64,
    /// Whether its output is one for all images: a class of its own for injections.
    pub shared: bool,
    /// Whether PyTorch's forward hooks see it.
    pub hooked: bool,
}

/// A recorded model. Nodes are in an order in which they can be run.
#[derive(Clone, Debug, Default)]
pub struct Tape {
    nodes: Vec<Node>,
    params: Vec<Param>,
    /// Names of nodes and of parameters.
    names: [HashSet<String>; 2],
}

impl Tape {
    /// An empty tape.
    pub fn new() -> Self {
        Tape::default()
    }

    /// Records an input, fed by the caller before a pass.
    pub fn input(&mut self, name: &str, spec: Spec) -> NodeId {
        self.push(Node {
            name: name.into(),
            op: None,
            inputs: vec![],
            params: vec![],
            spec,
            wants_gradient: false,
        })
    }

    /// Has training take the gradient of an input, too.
    pub fn want_gradient(&mut self, input: NodeId) {
        self.nodes[input.0].wants_gradient = true;
    }

    /// Has training leave parameters as they are. A node with running statistics of whose parameters none is trained
    /// leaves those as they are, too, and uses them, as in eval mode.
    pub fn freeze(&mut self, frozen: &[ParamId]) {
        for id in frozen {
            self.params[id.0].frozen = true;
        }
        for node in &self.nodes {
            let is =
                |what: fn(&Param) -> bool| node.params.iter().any(|id| what(&self.params[id.0]));
            if is(|param| param.frozen) && !is(Param::is_trained) {
                node.params.iter().for_each(|id| self.params[id.0].frozen = true);
            }
        }
    }

    /// Records an operation called `name`; its parameters are called `name.weight` and so on.
    ///
    /// # Errors
    /// What the operation says of its inputs' shapes, with the node's name; a name twice.
    pub fn record(
        &mut self,
        name: &str,
        op: impl Op + 'static,
        inputs: &[NodeId],
    ) -> Result<NodeId> {
        self.record_shared(name, Arc::new(op), inputs, None)
    }

    /// As [`Tape::record`]; `param_names` gives state-dict names outright, for those that have no
    /// prefix (`logit_scale`).
    pub fn record_shared(
        &mut self,
        name: &str,
        op: Arc<dyn Op>,
        inputs: &[NodeId],
        param_names: Option<&[&str]>,
    ) -> Result<NodeId> {
        if self.names[0].contains(name) {
            return Err(Error::shape(name, "the name is taken by another node"));
        }
        let specs: Vec<Spec> = inputs.iter().map(|id| self.node(*id).spec).collect();
        let mut spec = op.output(&specs).map_err(|error| match error {
            Error::Shape { detail, .. } => Error::shape(name, detail),
            other => other,
        })?;
        // What follows from nothing but values for all images is one itself.
        spec.shared = specs.iter().all(|spec| spec.shared);
        let mut shared = specs.iter().enumerate().filter(|(_, spec)| spec.shared);
        if let Some((input, _)) = shared.find(|(input, _)| !spec.shared && !op.takes_shared(*input))
        {
            let detail =
                format!("takes no value for all images as input {input} beside one an image");
            return Err(Error::shape(name, detail));
        }
        require_size(name, [spec.map.height, spec.map.width, spec.map.channels])?;
        let mut ids = Vec::new();
        for (index, spec) in op.params().into_iter().enumerate() {
            let name = match param_names {
                Some(names) => names[index].to_string(),
                None => format!("{name}.{}", spec.name),
            };
            if !self.names[1].insert(name.clone()) {
                return Err(Error::shape(name, "the name is taken by another parameter"));
            }
            require_size(&name, spec.shape.iter().copied())?;
            self.params.push(Param { name, spec, frozen: false });
            ids.push(ParamId(self.params.len() - 1));
        }
        Ok(self.push(Node {
            name: name.into(),
            op: Some(op),
            inputs: inputs.to_vec(),
            params: ids,
            spec,
            wants_gradient: false,
        }))
    }

    fn push(&mut self, node: Node) -> NodeId {
        self.names[0].insert(node.name.clone());
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }

    /// The nodes, in order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The parameters and state, in the order of recording.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// The node called `name`, with or without the prefix `backbone.`.
    ///
    /// # Errors
    /// [`Error::Usage`] that names what is there.
    pub fn find(&self, name: &str) -> Result<NodeId> {
        let position = self
            .nodes
            .iter()
            .position(|node| node.name == name)
            .or_else(|| self.nodes.iter().position(|node| pair_name(&node.name) == name));
        position.map(NodeId).ok_or_else(|| {
            let layers: Vec<String> = self.injectable().into_iter().map(|l| l.name).collect();
            Error::usage(format!(
                "the model has no layer '{name}'; its injectable layers are: {}",
                layers.join(", ")
            ))
        })
    }

    /// Specs of a node's inputs.
    pub fn input_specs(&self, id: NodeId) -> Vec<Spec> {
        self.node(id).inputs.iter().map(|input| self.node(*input).spec).collect()
    }

    /// Where faults can hit a node.
    pub fn sites(&self, id: NodeId) -> Sites {
        let op = self.node(id).op.as_ref();
        op.map_or(Sites::None, |op| op.sites(&self.input_specs(id)))
    }

    /// The node whose elements faults at a site of a node are numbered by; `None` where they lie in no map.
    pub fn node_at(&self, id: NodeId, site: Site) -> Option<NodeId> {
        match site.addressed() {
            Addressed::Output => Some(id),
            Addressed::Input => self.node(id).inputs.first().copied(),
            Addressed::Parameter | Addressed::Score => None,
        }
    }

    /// What a node's backward reads, one flag an input.
    pub fn needs(&self, id: NodeId) -> SavedForBackward {
        let node = self.node(id);
        let mut needs = node.op.as_ref().map(|op| op.needs()).unwrap_or_default();
        needs.inputs.resize(node.inputs.len(), false);
        needs
    }

    /// Which nodes have to run for `outputs`, one flag a node.
    pub fn needed_for(&self, outputs: &[NodeId]) -> Vec<bool> {
        let mut needed = vec![false; self.nodes.len()];
        for output in outputs {
            needed[output.0] = true;
        }
        for index in (0..self.nodes.len()).rev() {
            if needed[index] {
                for input in &self.nodes[index].inputs {
                    needed[input.0] = true;
                }
            }
        }
        needed
    }

    /// The layers that faults can be injected into, in order: every convolution and linear layer.
    pub fn injectable(&self) -> Vec<Injectable> {
        let mut layers = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let specs = self.input_specs(NodeId(index));
            let Some(op) = &node.op else { continue };
            if let Sites::Product { view, is_hooked, .. } = op.sites(&specs) {
                layers.push(Injectable {
                    node: NodeId(index),
                    name: node.name.clone(),
                    kind: op.kind(),
                    gemm: view,
                    macs: op.cost(&specs).macs,
                    shared: node.spec.shared,
                    hooked: is_hooked,
                });
            }
        }
        layers
    }

    /// Whether a node's running statistics, if it has any, are used and left as they are in training, too.
    pub fn is_settled(&self, id: NodeId) -> bool {
        let params = self.node(id).params.iter().map(|param| &self.params[param.0]);
        params.clone().next().is_some() && params.into_iter().all(|param| param.frozen)
    }

    /// Parameters, in elements (what PyTorch's `numel` over `parameters()` says), frozen ones included.
    pub fn parameter_count(&self) -> usize {
        self.params.iter().filter(|p| p.spec.role.is_trained()).map(|p| p.spec.elements()).sum()
    }

    /// Multiply-accumulates of one image's forward pass.
    pub fn macs(&self) -> u64 {
        (0..self.nodes.len())
            .filter_map(|i| {
                Some(self.nodes[i].op.as_ref()?.cost(&self.input_specs(NodeId(i))).macs)
            })
            .sum()
    }
}

/// Refuses a map or parameter of 2^31 elements and more, which kernels number by 32 bits.
fn require_size(name: &str, sides: impl IntoIterator<Item = usize>) -> Result<()> {
    let elements = sides.into_iter().try_fold(1usize, |product, side| product.checked_mul(side));
    match elements.is_some_and(|elements| elements < 1 << 31) {
        true => Ok(()),
        false => Err(Error::shape(name, "has 2^31 elements or more")),
    }
}

/// A layer's name in paired draws: its state-dict name less `backbone.`.
pub fn pair_name(name: &str) -> &str {
    name.strip_prefix("backbone.").unwrap_or(name)
}
