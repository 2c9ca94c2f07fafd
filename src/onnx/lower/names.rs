//! What layers are called: as PyTorch calls them, where the file has kept that.

use std::collections::HashSet;

use crate::error::shorten;
use crate::onnx::graph::{Graph, Node};
use crate::onnx::op::Op;

/// Gives each node a name of its own.
pub struct Names {
    taken: HashSet<String>,
    /// Modules in which others stand.
    containers: HashSet<String>,
}

impl Names {
    /// For the nodes of a graph.
    pub fn of(graph: &Graph) -> Names {
        let mut containers = HashSet::new();
        for scope in graph.nodes.iter().filter_map(|node| node.scope.as_deref()) {
            let mut path = scope;
            while let Some((outer, _)) = path.rsplit_once('.') {
                containers.insert(outer.to_string());
                path = outer;
            }
        }
        Names { taken: HashSet::new(), containers }
    }

    /// The name of a layer: its weight's, `layer1.0.conv1.weight` say, less its last part; else its module's;
    /// else its node's.
    pub fn layer(&mut self, node: &Node) -> String {
        let weight = node.inputs.get(1).and_then(|input| input.constant()?.name.as_deref());
        let path = weight.and_then(|name| name.strip_suffix(".weight"));
        let path = path.or(node.scope.as_deref()).map(str::to_string);
        self.unique(path.unwrap_or_else(|| plain(&node.name)))
    }

    /// The name of what has no weights: its module's if nothing else stands in that, else the operator in its
    /// module.
    pub fn step(&mut self, node: &Node) -> String {
        let is_module = matches!(
            node.op,
            Op::Unary(_)
                | Op::MaxPool { .. }
                | Op::AvgPool { .. }
                | Op::Reduce { .. }
                | Op::Softmax { .. }
        );
        let kind = kind_of(&node.op);
        self.unique(match &node.scope {
            Some(scope) if is_module && !self.containers.contains(scope) => scope.clone(),
            Some(scope) => format!("{scope}.{kind}"),
            None => kind.into(),
        })
    }

    /// `name`, or one like it that isn't taken.
    pub fn free(&mut self, name: &str) -> String {
        self.unique(name.into())
    }

    fn unique(&mut self, name: String) -> String {
        let name = shorten(&name, 200);
        let mut candidate = name.clone();
        let mut count = 0;
        while !self.taken.insert(candidate.clone()) {
            count += 1;
            candidate = format!("{name}_{count}");
        }
        candidate
    }
}

/// A node's name without the slashes of paths.
fn plain(name: &str) -> String {
    name.trim_start_matches('/').replace('/', ".")
}

/// A short word for an operator.
pub fn kind_of(op: &Op) -> &'static str {
    match op {
        Op::Conv { .. } => "conv",
        Op::MatMul => "matmul",
        Op::BatchNorm { .. } => "batch_norm",
        Op::LayerNorm { .. } => "layer_norm",
        Op::GroupNorm { .. } => "group_norm",
        Op::Unary(_) => "activation",
        Op::Binary(super::Binary::Add) => "add",
        Op::Binary(super::Binary::Sub) => "sub",
        Op::Binary(super::Binary::Mul) => "mul",
        Op::Binary(super::Binary::Div) => "div",
        Op::Binary(_) => "binary",
        Op::MaxPool { .. } => "max_pool",
        Op::AvgPool { .. } => "avg_pool",
        Op::Reduce { .. } => "reduce",
        Op::Softmax { .. } => "softmax",
        Op::Concat { .. } => "concat",
        Op::Slice { .. } => "slice",
        Op::Take { .. } => "take",
        Op::Pad { .. } | Op::PadFrom { .. } => "pad",
        Op::Resize { .. } => "resize",
        Op::Reshape { .. } => "reshape",
        Op::Transpose { .. } => "transpose",
        Op::Expand { .. } => "expand",
        Op::Where => "where",
    }
}
