//! The greatest fault-free output of each layer, which the range detector clamps to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::images::{Images, load_batch};
use super::layers::Layer;
use crate::models::Model;
use crate::tape::{Execution, PlanKind, Weights};
use crate::{Error, Result};

/// max |output| of each layer over training images, by the layer's name. Values that aren't
/// finite are passed over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ranges {
    pub max: BTreeMap<String, f32>,
}

impl Ranges {
    /// Runs the images of `list` through `model` on the weights' device, `batch` at a time.
    pub fn measure(
        model: &Model,
        weights: &Weights,
        layers: &[Layer],
        images: &dyn Images,
        list: &[usize],
        batch: usize,
    ) -> Result<Ranges> {
        let (device, outputs) = (weights.device(), [model.logits]);
        let capacity = batch.clamp(1, list.len().max(1));
        let mut execution =
            Execution::new(&model.tape, device, PlanKind::Golden, capacity, &outputs)?;
        let mut max = vec![0f32; layers.len()];
        for part in list.chunks(capacity) {
            let (pixels, _) = load_batch(model, images, part)?;
            execution.begin(part.len())?;
            execution.write(model.image, &pixels)?;
            execution.forward(weights)?;
            for (layer, max) in layers.iter().zip(&mut max) {
                let values = execution.read(layer.node)?;
                let finite = values.into_iter().map(f32::abs).filter(|v| v.is_finite());
                *max = finite.fold(*max, f32::max);
            }
        }
        Ok(Ranges { max: layers.iter().map(|layer| layer.name.clone()).zip(max).collect() })
    }

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
