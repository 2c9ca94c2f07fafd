//! What layers are called: as PyTorch calls them, where the file has kept that.

use std::collections::HashSet;

use crate::error::shorten;
use crate::onnx::graph::{OperatorGraph, OperatorNode};
use crate::onnx::op::{Binary, Operator};

/// Gives each node a name of its own.
pub struct LayerNames {
    taken: HashSet<String>,
    /// Modules in which others stand.
    containers: HashSet<String>,
}

impl LayerNames {
    /// For the nodes of a graph.
    pub fn of(graph: &OperatorGraph) -> LayerNames {
        let mut containers = HashSet::new();
        for scope in graph.nodes.iter().filter_map(|node| node.scope.as_deref()) {
            let mut path = scope;
            while let Some((outer, _)) = path.rsplit_once('.') {
                containers.insert(outer.to_string());
                path = outer;
            }
        }
        LayerNames { taken: HashSet::new(), containers }
    }

    /// The name of a layer: its weight's, `layer1.0.conv1.weight` say, less its last part; else its module's;
    /// else its node's.
    pub fn layer(&mut self, node: &OperatorNode) -> String {
        let weight = node.inputs.get(1).and_then(|input| input.constant()?.name.as_deref());
        let path = weight.and_then(|name| name.strip_suffix(".weight"));
        let path = path.or(node.scope.as_deref()).map(str::to_string);
        self.unique(path.unwrap_or_else(|| plain(&node.name)))
    }

    /// The name of what has no weights: its module's if nothing else stands in that, else the operator in its
    /// module.
    pub fn step(&mut self, node: &OperatorNode) -> String {
        let is_module = matches!(
            node.op,
            Operator::Unary(_)
                | Operator::MaxPool { .. }
                | Operator::AvgPool { .. }
                | Operator::Reduce { .. }
                | Operator::Softmax { .. }
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
pub fn kind_of(op: &Operator) -> &'static str {
    match op {
        Operator::Binary(Binary::Add) => "add",
        Operator::Binary(Binary::Sub) => "sub",
        Operator::Binary(Binary::Mul) => "mul",
        Operator::Binary(Binary::Div) => "div",
        _ => op.into(),
    }
}
