//! Ranges of random brightness, contrast, saturation and hue: torchvision's `ColorJitter`.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The range of each factor, lower bound first; what has none is left alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColorJitter {
    /// Factor of all values, from 0; 1 changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brightness: Option<[f64; 2]>,
    /// Factor of the distance from the mean grey value, from 0; 1 changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contrast: Option<[f64; 2]>,
    /// Factor of the distance from grey, from 0; 1 changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saturation: Option<[f64; 2]>,
    /// Turn of the colour circle, within −½ and ½; 0 changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hue: Option<[f64; 2]>,
}

impl ColorJitter {
    /// torchvision's `ColorJitter(brightness, contrast, saturation, hue)` of four numbers: factors from
    /// 1 − number, at least 0, to 1 + number, turns from −hue to hue. 0 leaves alone.
    pub fn of(brightness: f64, contrast: f64, saturation: f64, hue: f64) -> Self {
        let around = |centre: f64, by: f64, least: f64| {
            (by != 0.0).then(|| [(centre - by).max(least), centre + by])
        };
        ColorJitter {
            brightness: around(1.0, brightness, 0.0),
            contrast: around(1.0, contrast, 0.0),
            saturation: around(1.0, saturation, 0.0),
            hue: around(0.0, hue, f64::NEG_INFINITY),
        }
    }

    /// Whether the ranges make sense.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the one that doesn't.
    pub fn validate(&self) -> Result<()> {
        let factors = [
            ("brightness", self.brightness, [0.0, f64::MAX]),
            ("contrast", self.contrast, [0.0, f64::MAX]),
            ("saturation", self.saturation, [0.0, f64::MAX]),
            ("hue", self.hue, [-0.5, 0.5]),
        ];
        for (name, range, [least, most]) in factors {
            let [low, high] = range.unwrap_or([0.0; 2]);
            if !(least <= low && low <= high && high <= most) {
                let bounds = if name == "hue" { "within −½ and ½" } else { "at least 0" };
                let detail = format!("the jitter's {name} must be {bounds}, the lower bound first");
                return Err(Error::usage(detail));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_torchvisions_ranges() {
        let jitter = ColorJitter::of(0.4, 2.0, 0.0, 0.1);
        assert_eq!(jitter.brightness, Some([0.6, 1.4]));
        assert_eq!(jitter.contrast, Some([0.0, 3.0]));
        assert_eq!((jitter.saturation, jitter.hue), (None, Some([-0.1, 0.1])));
        jitter.validate().unwrap();
        assert_eq!(
            toml::from_str::<ColorJitter>(&toml::to_string(&jitter).unwrap()).unwrap(),
            jitter
        );
    }

    #[test]
    fn senseless_ranges_are_refused_by_name() {
        let refused = |text: &str, what: &str| {
            let jitter: ColorJitter = toml::from_str(text).unwrap();
            let error = jitter.validate().unwrap_err().to_string();
            assert!(error.contains(what), "{text}: {error}");
        };
        refused("brightness = [-0.1, 1.0]", "brightness");
        refused("contrast = [1.0, 0.5]", "contrast");
        refused("saturation = [0.0, inf]", "saturation");
        refused("hue = [-0.6, 0.5]", "hue");
        refused("hue = [nan, 0.5]", "hue");
        assert!(toml::from_str::<ColorJitter>("gamma = [1.0, 2.0]").is_err());
    }
}
