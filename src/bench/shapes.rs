//! The distinct operations of networks, by what they compute on which shapes.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::cases::{CaseInput, Fill, OpCase};
use crate::hex;
use crate::models::Model;
use crate::ops::Op;
use crate::ops::adaptive_avg_pool::AdaptiveAvgPool;
use crate::ops::add::Add;
use crate::ops::avg_pool::AvgPool;
use crate::ops::linear::as_conv2d;
use crate::ops::max_pool::MaxPool;
use crate::ops::unary::Unary;
use crate::tape::NodeId;
use crate::tensor::{DType, Map, Spec};

/// An operation on inputs of given shapes, and who has it.
#[derive(Clone, Debug)]
pub struct OpShape {
    /// The same wherever the same is computed; peers are matched by it.
    pub id: String,
    /// For people.
    pub name: String,
    pub op: Arc<dyn Op>,
    /// For one image.
    pub inputs: Vec<Spec>,
    pub output: Spec,
    /// Models, and how many of their nodes compute it.
    pub models: Vec<(String, usize)>,
}

/// Every distinct operation of some models (each with its name) that runs anything, in the order in
/// which the tapes come to it.
pub fn shapes(models: &[(String, Model)]) -> Vec<OpShape> {
    let mut shapes: Vec<OpShape> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (name, model) in models {
        let needed = model.tape.needed_for(&[model.logits]);
        for (index, node) in model.tape.nodes().iter().enumerate().filter(|(i, _)| needed[*i]) {
            let Some(op) = &node.op else { continue };
            let inputs = model.tape.input_specs(NodeId(index));
            let id = id(op.as_ref(), &inputs);
            let place = *places.entry(id).or_insert_with(|| {
                shapes.push(OpShape::of(op.clone(), inputs, node.spec));
                shapes.len() - 1
            });
            let models = &mut shapes[place].models;
            match models.last_mut() {
                Some((last, count)) if last == name => *count += 1,
                _ => models.push((name.clone(), 1)),
            }
        }
    }
    shapes
}

/// The numbers of an operation, under PyTorch's names, that its shapes don't tell; for whoever has a peer do the same.
/// Two operations of a kind with the same numbers and shapes compute the same. Null where it isn't told here.
fn settings(op: &dyn Op) -> serde_json::Value {
    let any: &dyn Any = op;
    if let Some(conv) = as_conv2d(op) {
        json!({
            "kernel_size": conv.kernel,
            "stride": conv.stride,
            "padding": conv.padding,
            "dilation": conv.dilation,
            "groups": conv.groups,
            "bias": conv.bias,
        })
    } else if let Some(MaxPool { window }) = any.downcast_ref() {
        json!({
            "kernel_size": window.kernel,
            "stride": window.stride,
            "padding": window.padding,
            "dilation": window.dilation,
        })
    } else if let Some(pool) = any.downcast_ref::<AvgPool>() {
        json!({
            "kernel_size": pool.kernel,
            "stride": pool.stride,
            "padding": pool.padding,
            "count_include_pad": pool.count_include_pad,
        })
    } else if let Some(AdaptiveAvgPool { output }) = any.downcast_ref() {
        json!({ "output_size": output })
    } else if let Some(Add { depth }) = any.downcast_ref() {
        // Which share is dropped changes no cost.
        json!({ "drops_branches": *depth > 0.0 })
    } else {
        serde_json::Value::Null
    }
}

/// Whether it has no value, or none that could be compared, of numbers below 0.
fn is_of_positive_numbers(op: &dyn Op) -> bool {
    matches!((op as &dyn Any).downcast_ref(), Some(Unary::Sqrt | Unary::Log))
}

/// A digest of all that decides what is computed.
fn id(op: &dyn Op, inputs: &[Spec]) -> String {
    let settings = settings(op);
    // Those who don't give their numbers show them.
    let numbers = if settings.is_null() { format!("{op:?}") } else { settings.to_string() };
    // Peers' files have ids of texts that say twice how elements are stored.
    let input = |Spec { map, shared, storage }: &Spec| {
        format!(
            "Spec {{ map: {map:?}, shared: {shared}, storage: {storage:?}, compute: {storage:?} }}"
        )
    };
    let inputs = inputs.iter().map(input).collect::<Vec<_>>().join(", ");
    let digest = Sha256::digest(format!("{} {numbers} [{inputs}]", op.kind()));
    hex(&digest)[..12].to_string()
}

fn describe(op: &dyn Op, inputs: &[Spec], output: Spec) -> String {
    let maps: Vec<String> = inputs.iter().map(|spec| spec.map.to_string()).collect();
    let mut name = format!("{} {} → {}", op.kind(), maps.join(", "), output.map);
    if let Some(conv) = as_conv2d(op) {
        let pair = |[a, b]: [usize; 2]| if a == b { a.to_string() } else { format!("{a}×{b}") };
        name += &format!(", {}×{}", conv.kernel[0], conv.kernel[1]);
        if conv.stride != [1, 1] {
            name += &format!(", stride {}", pair(conv.stride));
        }
        match conv.groups {
            1 => {}
            groups if groups == conv.in_channels => name += ", depthwise",
            groups => name += &format!(", {groups} groups"),
        }
    }
    name
}

/// A shape as peers read it.
#[derive(Serialize)]
struct PeerShape<'a> {
    id: &'a str,
    name: &'a str,
    kind: &'a str,
    settings: serde_json::Value,
    /// Channels, height, width, of one image.
    inputs: Vec<[usize; 3]>,
    output: [usize; 3],
    models: &'a [(String, usize)],
}

impl OpShape {
    /// `op` on `inputs`, in nobody's model.
    pub fn of(op: Arc<dyn Op>, inputs: Vec<Spec>, output: Spec) -> OpShape {
        let id = id(op.as_ref(), &inputs);
        let name = describe(op.as_ref(), &inputs, output);
        OpShape { id, name, op, inputs, output, models: Vec::new() }
    }

    /// Everything that a peer needs to do the same.
    pub fn listed(&self) -> serde_json::Value {
        let sizes = |map: Map| [map.channels, map.height, map.width];
        let listed = PeerShape {
            id: &self.id,
            name: &self.name,
            kind: self.op.kind(),
            settings: settings(self.op.as_ref()),
            inputs: self.inputs.iter().map(|spec| sizes(spec.map)).collect(),
            output: sizes(self.output.map),
            models: &self.models,
        };
        serde_json::to_value(&listed).unwrap_or_default()
    }

    /// It with values to run it on.
    pub fn case(&self, batch: usize) -> OpCase {
        let classes = self.inputs.first().map_or(1, |spec| spec.map.channels) as u32;
        let fill = |spec: &Spec| match spec {
            Spec { storage: DType::U32, .. } => Fill::Labels(classes),
            Spec { shared: true, .. } => Fill::Shared,
            _ if is_of_positive_numbers(self.op.as_ref()) => Fill::Positive,
            _ => Fill::Uniform,
        };
        let inputs =
            self.inputs.iter().map(|spec| CaseInput { map: spec.map, fill: fill(spec) }).collect();
        let (name, op) = (self.name.clone(), self.op.clone());
        OpCase { name, op, inputs, batch, tolerance: 0.0, training: false }
    }
}
