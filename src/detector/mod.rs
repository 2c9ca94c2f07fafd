//! Error detectors to simulate: what stands between a faulty value and its readers.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

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
