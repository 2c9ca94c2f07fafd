//! A layer of a campaign, as results have it.

use serde::{Deserialize, Serialize};

use crate::fault::{Addressed, Site, ValueKind};
use crate::number::Format;
use crate::ops::KernelVariant;
use crate::tensor::Map;

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
    /// A layer whose output is one for all images, as those that make Swin V2's position biases: a class
    /// of its own, which no network-wide figure counts and which takes faults only where it is named.
    Shared,
}

/// A layer, as a manifest has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerRow {
    pub name: String,
    pub pair_key: String,
    pub kind: String,
    pub part: Part,
    /// Of one image's output: channels, height and width; of a parameter: PyTorch's shape.
    pub shape: Vec<usize>,
    /// Of one image's input, as `shape`; empty for a parameter.
    pub input_shape: Vec<usize>,
    pub macs: u64,
    /// What the range detector clamps to: max |output| over training images, max |entry| of a parameter;
    /// `None` without that detector.
    pub range: Option<f32>,
    /// What computed it: the native loop and its tile, or the kernel and its tile.
    pub variant: String,
}

impl LayerRow {
    /// Output elements of one image, or entries of the parameter.
    pub fn neurons(&self) -> u64 {
        self.shape.iter().map(|size| *size as u64).product()
    }

    /// Whether it is a parameter.
    pub fn is_parameter(&self) -> bool {
        self.kind == "parameter"
    }

    /// The sizes of what elements at a site count, the slowest first: channels, height and width of a map,
    /// or a parameter's. `None` for attention's scores and probabilities, which lie in no map of a layer.
    pub fn shape_at(&self, site: Site) -> Option<&[usize]> {
        match site.addressed() {
            Addressed::Score => None,
            Addressed::Input => Some(&self.input_shape),
            Addressed::Output | Addressed::Parameter => Some(&self.shape),
        }
    }

    /// The format of the values that faults at a site hit; operands have the kernel's.
    pub fn format_at(&self, site: Site) -> Format {
        match site.value() {
            ValueKind::Operand => KernelVariant::operands_of(&self.variant),
            ValueKind::Known | ValueKind::Hidden => Format::F32,
        }
    }

    /// Bits of those values.
    pub fn bits_at(&self, site: Site) -> u32 {
        self.format_at(site).bits()
    }

    /// Channel, row and column of an element at a site; `None` where it lies in no map, or beyond it.
    pub fn coordinates(&self, site: Site, element: u64) -> Option<[u64; 3]> {
        let [channels, height, width] = *self.shape_at(site).filter(|_| !self.is_parameter())?
        else {
            return None;
        };
        let map = Map::new(height, width, channels);
        let elements = height.checked_mul(width)?.checked_mul(channels)? as u64;
        (element < elements).then(|| map.locate(element as usize).map(|number| number as u64))
    }
}
