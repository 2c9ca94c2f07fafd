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

/// All bits of an f32 but its sign: those of its absolute value, which are in the order of the values, as whole
/// numbers are. An infinity stands behind all numbers, and NaN behind it. Compared like that, many are at a time.
const MAGNITUDE: u32 = 0x7fff_ffff;

fn magnitude(value: f32) -> i32 {
    (value.to_bits() & MAGNITUDE) as i32
}

/// The greatest finite absolute value; 0 without any.
pub(super) fn greatest(values: &[f32]) -> f32 {
    let infinity = magnitude(f32::INFINITY);
    let finite = |value: &f32| if magnitude(*value) < infinity { magnitude(*value) } else { 0 };
    f32::from_bits(values.iter().map(finite).fold(0, i32::max) as u32)
}

/// Whether a value is NaN or lies outside a range, which isn't below 0.
pub(super) fn is_left(values: &[f32], range: f32) -> bool {
    let range = magnitude(range);
    values.iter().fold(false, |left, value| left | (magnitude(*value) > range))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_is_finite() {
        assert_eq!(greatest(&[]), 0.0);
        assert_eq!(greatest(&[f32::NAN, f32::INFINITY, -f32::NAN, f32::NEG_INFINITY]), 0.0);
        assert_eq!(greatest(&[1.0, -2.5, f32::INFINITY, 2.0, -0.0]), 2.5);
        assert_eq!(greatest(&[f32::MIN, 1e-45]), f32::MAX);
        assert_eq!(greatest(&[-1e-45, 0.0]), 1e-45);
    }

    #[test]
    fn a_range_is_left_by_what_is_larger_and_by_nan() {
        for (value, left) in [(2.5, false), (-2.5, false), (0.0, false), (2.500001, true)] {
            assert_eq!(is_left(&[1.0, value, -1.0], 2.5), left, "{value}");
        }
        for value in [-3.0, f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(is_left(&[0.0, value], 2.5), "{value}");
        }
        assert!(!is_left(&[], 0.0) && is_left(&[1e-45], 0.0));
    }
}
