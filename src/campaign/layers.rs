//! The injectable layers of a model, and under which key each is paired with another model's.

use crate::Result;
use crate::fault::Site;
use crate::models::Model;
use crate::nn::Head;
use crate::ops::Role;
use crate::results::{Part, choice};
use crate::tape::{NodeId, ParamId, Tape, pair_name};
use crate::tensor::Map;

/// The pair key of the last layer of both heads, before and after the scale.
pub const LAST_LAYER: &str = "last-layer";

/// An entry of the state dict that faults hit, instead of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    pub id: ParamId,
    /// In PyTorch's order.
    pub shape: Vec<usize>,
}

impl Parameter {
    /// Numbers in it.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A place of a model that a campaign injects faults into: a node, or a parameter that it reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    pub node: NodeId,
    /// State-dict name of the layer or the parameter; for [`Part::AfterScale`] the name of the scale's
    /// node.
    pub name: String,
    /// What faults are drawn by: the name less `backbone.`, one key for both heads' last layer.
    pub pair_key: String,
    /// Kind of the operation: `conv2d`, `linear` or `scale`; `parameter`.
    pub kind: &'static str,
    pub part: Part,
    /// One image's output.
    pub map: Map,
    /// Multiply-accumulates of one image; those of the last layer for [`Part::AfterScale`], which
    /// stands in its stead. Of a parameter those in which its entries take part: a multiply-accumulate, a
    /// multiplication or an addition.
    pub macs: u64,
    /// What is hit where it isn't the node's own computation.
    pub parameter: Option<Parameter>,
}

impl Layer {
    /// Output elements of one image, or entries of the parameter.
    pub fn neurons(&self) -> u64 {
        match &self.parameter {
            Some(parameter) => parameter.elements() as u64,
            None => self.map.elements() as u64,
        }
    }
}

/// A node as a layer that campaigns draw no faults for: attention, say.
pub fn of_node(model: &Model, id: NodeId) -> Layer {
    let node = model.tape.node(id);
    let op = node.op.as_ref();
    Layer {
        node: id,
        name: node.name.clone(),
        pair_key: pair_name(&node.name).to_string(),
        kind: op.map_or("input", |op| op.kind()),
        part: Part::Backbone,
        map: node.spec.map,
        macs: op.map_or(0, |op| op.cost(&model.tape.input_specs(id)).macs),
        parameter: None,
    }
}

/// Channels, height and width.
pub fn sizes(map: Map) -> [usize; 3] {
    [map.channels, map.height, map.width]
}

/// The layers of `all` that `patterns` ask for, in the model's order: names with or without `backbone.`,
/// `*` for any characters in them, or `type:` and a kind. Without patterns every layer but the shared.
///
/// # Errors
/// [`crate::Error::Usage`] for a pattern that no layer has, with the layers that there are.
pub fn choose(all: Vec<Layer>, patterns: Option<&[String]>) -> Result<Vec<Layer>> {
    let Some(patterns) = patterns else {
        return Ok(all.into_iter().filter(|layer| layer.part != Part::Shared).collect());
    };
    let names: Vec<(&str, &str)> = all.iter().map(|layer| (&*layer.name, layer.kind)).collect();
    let words = match all.iter().any(|layer| layer.parameter.is_some()) {
        true => choice::Words {
            lacks: "the model has no parameter",
            known: "with --site weight they are given as in fc.weight or fc.*, and are",
        },
        false => {
            choice::Words { lacks: "the model has no layer", known: "its injectable layers are" }
        }
    };
    let chosen = choice::choose(&names, patterns, &words)?;
    let is_chosen = |(at, layer)| chosen.binary_search(&at).is_ok().then_some(layer);
    Ok(all.into_iter().enumerate().filter_map(is_chosen).collect())
}

/// Every entry of the state dict that holds floats, by the layers that read them, in order.
pub fn parameters(model: &Model) -> Vec<Layer> {
    let tape = &model.tape;
    let outputs = layers(model);
    let needed = tape.needed_for(&[model.logits]);
    let mut found = Vec::new();
    for (index, node) in tape.nodes().iter().enumerate().filter(|(index, _)| needed[*index]) {
        let of_node = outputs.iter().find(|layer| layer.node == NodeId(index));
        for id in &node.params {
            let param = &tape.params()[id.0];
            if matches!(param.spec.role, Role::Counter | Role::Index) {
                continue;
            }
            let last = param.name.rsplit('.').next().unwrap_or_default();
            let (part, pair_key) = match of_node {
                // Of the last layer the weight alone stands for it in tables.
                Some(layer) if layer.part == Part::LastLayer && last == "weight" => {
                    (Part::LastLayer, format!("{LAST_LAYER}.weight"))
                }
                Some(layer) if layer.part == Part::Embedding => {
                    (Part::Embedding, format!("{}.{last}", layer.pair_key))
                }
                _ => (Part::Backbone, pair_name(&param.name).to_string()),
            };
            found.push(Layer {
                node: NodeId(index),
                name: param.name.clone(),
                pair_key,
                kind: "parameter",
                part,
                map: node.spec.map,
                macs: operations(tape, NodeId(index), param.spec.role),
                parameter: Some(Parameter { id: *id, shape: param.spec.shape.to_vec() }),
            });
        }
    }
    found
}

/// In how many of an image's multiply-accumulates, multiplications or additions the entries of a parameter of a
/// node take part. A weight: in all of its layer's. A bias, a norm's weight, bias or running statistics, the scale
/// of logits: in one for each element of the output. What attention reads, its scale or a table of biases: in one
/// for each score.
fn operations(tape: &Tape, id: NodeId, role: Role) -> u64 {
    let node = tape.node(id);
    let elements = node.spec.map.elements() as u64;
    let Some(op) = &node.op else { return elements };
    let sites = tape.sites(id);
    if let Some(scores) = sites.space(Site::Scores) {
        return scores.elements;
    }
    if sites.gemm_view().is_some() {
        return if role == Role::Bias { elements } else { op.cost(&tape.input_specs(id)).macs };
    }
    // A table has no input: what counts is what its readers do.
    let readers = tape.nodes().iter().enumerate().filter(|(_, node)| node.inputs.contains(&id));
    match node.inputs.is_empty() {
        true => readers.map(|(reader, _)| operations(tape, NodeId(reader), role)).sum(),
        false => elements,
    }
}

/// Every convolution and linear layer of `model`, in order, and the pseudo layer after the scale where
/// there is one.
pub fn layers(model: &Model) -> Vec<Layer> {
    let tape = &model.tape;
    let injectable = tape.injectable();
    // The embedding is the last layer but one of a text-guided model.
    let embedding = match model.head {
        Head::Baseline => None,
        Head::TextGuided { .. } => {
            injectable.iter().map(|l| l.node).filter(|node| *node < model.last_layer).max()
        }
    };
    let mut layers: Vec<Layer> = Vec::with_capacity(injectable.len() + 1);
    for layer in injectable {
        let name = pair_name(&layer.name);
        let (part, pair_key) = if layer.node == model.last_layer {
            (Part::LastLayer, LAST_LAYER.to_string())
        } else if Some(layer.node) == embedding {
            // Its shape is the embedding's: it must not share draws with a baseline's layer.
            (Part::Embedding, format!("backbone-{name}"))
        } else if layer.shared {
            (Part::Shared, name.to_string())
        } else {
            (Part::Backbone, name.to_string())
        };
        let map = tape.node(layer.node).spec.map;
        let (node, name, kind, macs) = (layer.node, layer.name, layer.kind, layer.macs);
        layers.push(Layer { node, name, pair_key, kind, part, map, macs, parameter: None });
    }
    if model.logits != model.last_layer
        && let Some(last) = layers.iter().find(|layer| layer.part == Part::LastLayer).cloned()
    {
        let node = tape.node(model.logits);
        layers.push(Layer {
            node: model.logits,
            name: node.name.clone(),
            kind: node.op.as_ref().map_or("input", |op| op.kind()),
            part: Part::AfterScale,
            ..last
        });
    }
    layers
}
