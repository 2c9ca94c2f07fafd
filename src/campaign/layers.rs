//! The injectable layers of a model, and under which key each is paired with another model's.

use crate::models::Model;
use crate::nn::Head;
use crate::tape::{NodeId, pair_name};
use crate::tensor::Map;

use serde::{Deserialize, Serialize};

/// The pair key of the last layer of both heads, before and after the scale.
pub const LAST_LAYER: &str = "last-layer";

/// What a layer is to its model; decides in which figures it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// A layer of the backbone.
    Backbone,
    /// The text-guided model's Linear → embedding, which the baseline doesn't have.
    Embedding,
    /// The layer that makes one number a class.
    LastLayer,
    /// A pseudo layer: the last layer's numbers after `logit_scale`. Only models with a scale have
    /// it; for the others before and after are the same place.
    AfterScale,
}

/// A place of a model that a campaign injects faults into: the output of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    pub node: NodeId,
    /// State-dict name; for [`Part::AfterScale`] the name of the scale's node.
    pub name: String,
    /// What faults are drawn by: the name less `backbone.`, one key for both heads' last layer.
    pub pair_key: String,
    /// Kind of the operation: `conv2d`, `linear` or `scale`.
    pub kind: &'static str,
    pub part: Part,
    /// One image's output.
    pub map: Map,
    /// Multiply-accumulates of one image; those of the last layer for [`Part::AfterScale`], which
    /// stands in its stead.
    pub macs: u64,
}

impl Layer {
    /// Output elements of one image.
    pub fn neurons(&self) -> u64 {
        self.map.elements() as u64
    }
}

/// Every convolution and linear layer of `model` whose output is each image's own, in order, and the
/// pseudo layer after the scale where there is one. (A fault in a layer that all images share, such
/// as the one that makes Swin V2's position biases, is a class of its own.)
pub fn layers(model: &Model) -> Vec<Layer> {
    let tape = &model.tape;
    let injectable: Vec<_> = tape.injectable().into_iter().filter(|l| !l.shared).collect();
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
        } else {
            (Part::Backbone, name.to_string())
        };
        let map = tape.node(layer.node).spec.map;
        let (node, name, kind, macs) = (layer.node, layer.name, layer.kind, layer.macs);
        layers.push(Layer { node, name, pair_key, kind, part, map, macs });
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
