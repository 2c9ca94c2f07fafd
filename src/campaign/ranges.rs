//! The greatest fault-free output of each layer, which the range detector clamps to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::layers::Layer;
use crate::results::RangesOver;
use crate::{Error, Result};

/// max |output| of each layer over training images, by the layer's name. Values that aren't
/// finite are passed over. [`Experiment::measure_ranges`](super::Experiment::measure_ranges) takes them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ranges {
    pub max: BTreeMap<String, f32>,
    /// The images, where any were looked at.
    pub over: Option<RangesOver>,
}

impl Ranges {
    /// A layer's.
    ///
    /// # Errors
    /// [`Error::Usage`] where the layer wasn't measured.
    pub fn of(&self, layer: &Layer) -> Result<f32> {
        self.max.get(&layer.name).copied().ok_or_else(|| {
            Error::usage(format!("the ranges hold no maximum for layer '{}'", layer.name))
        })
    }
}
