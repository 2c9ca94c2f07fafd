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

/// What stands between a faulty value and its readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Detector {
    /// Nothing.
    None,
    /// On the faulted value only: |v| above the layer's range becomes ±range, NaN +range.
    Range,
}

impl Detector {
    /// Every detector, by its number in a store.
    pub const ALL: [Detector; 2] = [Detector::None, Detector::Range];

    /// The word on the command line and in files.
    pub const fn name(self) -> &'static str {
        match self {
            Detector::None => "none",
            Detector::Range => "range",
        }
    }

    /// The detector called `name`.
    pub fn parse(name: &str) -> Result<Detector> {
        match name {
            "none" => Ok(Detector::None),
            "range" => Ok(Detector::Range),
            other => Err(Error::usage(format!("unknown detector '{other}'; known: none, range"))),
        }
    }

    /// What readers see of `value` in a layer whose range is `max`.
    pub fn see(self, value: f32, max: f32) -> f32 {
        match self {
            Detector::Range if value.is_nan() => max,
            Detector::Range if value.abs() > max => max.copysign(value),
            _ => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_detector_clamps_the_faulty_value() {
        let see = |v| Detector::Range.see(v, 3.0);
        assert_eq!([see(2.5), see(-3.0), see(3.5), see(-1e38)], [2.5, -3.0, 3.0, -3.0]);
        assert_eq!([see(f32::INFINITY), see(f32::NEG_INFINITY), see(f32::NAN)], [3.0, -3.0, 3.0]);
        assert!(Detector::None.see(f32::NAN, 3.0).is_nan());
        assert_eq!(see(-0.0).to_bits(), (-0.0f32).to_bits());
    }
}
