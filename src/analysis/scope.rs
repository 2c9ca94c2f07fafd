//! Which layers a network-wide figure runs over, and how much each counts.

use serde::Serialize;
use strum::EnumIter;

use crate::results::{LayerRow, Part, Run};

/// How layers count in a network-wide figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[derive(EnumIter)]
pub enum Weighting {
    /// Every layer alike.
    Uniform,
    /// By output elements.
    Neurons,
    /// By multiply-accumulates.
    Macs,
}

impl Weighting {
    /// The words in a table, behind those for all layers.
    pub const fn words(self) -> &'static str {
        match self {
            Weighting::Uniform => "layers alike",
            Weighting::Neurons => "weighted by neurons",
            Weighting::Macs => "weighted by MACs",
        }
    }

    /// A layer's weight.
    pub fn of(self, layer: &LayerRow) -> f64 {
        match self {
            Weighting::Uniform => 1.0,
            Weighting::Neurons => layer.neurons() as f64,
            Weighting::Macs => layer.macs as f64,
        }
    }
}

/// Which layers a network-wide figure runs over. The last layer counts once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Scope {
    /// Take the last layer after the scale, where the run has faults there, and not before it; elsewhere
    /// before it.
    pub after_scale: bool,
    /// Count the text-guided model's extra Linear.
    pub embedding: bool,
}

impl Scope {
    /// Everything, the last layer after the scale.
    pub const ALL: Scope = Scope { after_scale: true, embedding: true };

    /// Indices of the layers of a run.
    pub fn layers(self, run: &Run) -> Vec<usize> {
        let layers = &run.manifest.layers;
        // Inputs, weights, hooks and some choices of layers have no place after the scale.
        let last = last_layer(run, self.after_scale).or_else(|| last_layer(run, false));
        (0..layers.len())
            .filter(|index| match layers[*index].part {
                Part::Backbone => true,
                Part::Shared => false,
                Part::Embedding => self.embedding,
                Part::LastLayer | Part::AfterScale => Some(*index) == last,
            })
            .collect()
    }
}

/// The last layer of a run, before or after the scale; the same place where there is no scale.
pub fn last_layer(run: &Run, after_scale: bool) -> Option<usize> {
    let find = |part| run.manifest.layers.iter().position(|layer| layer.part == part);
    let before = find(Part::LastLayer);
    if after_scale && run.manifest.has_scale { find(Part::AfterScale) } else { before }
}
