//! Which rectangles of an image are erased at random: torchvision's `RandomErasing`.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Whether, where and with what. The default is torchvision's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomErasing {
    /// In how many of the images, 0 to 1.
    pub probability: f64,
    /// Bounds of the rectangle's share of the image.
    pub scale: [f64; 2],
    /// Bounds of its height / width.
    pub ratio: [f64; 2],
    /// What comes in its place.
    pub value: ErasedTo,
}

/// What erased values become. They are normalised values: 0 is the mean colour.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErasedTo {
    /// One value a channel.
    Channels([f32; 3]),
    /// Normal numbers of mean 0 and deviation 1.
    Random,
}

impl Default for RandomErasing {
    fn default() -> Self {
        RandomErasing {
            probability: 0.5,
            scale: [0.02, 0.33],
            ratio: [0.3, 3.3],
            value: ErasedTo::Channels([0.0; 3]),
        }
    }
}

impl RandomErasing {
    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the one that doesn't.
    pub fn validate(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::usage(format!("the erasing's {what}")));
        if !(0.0..=1.0).contains(&self.probability) {
            return wrong("probability must lie between 0 and 1");
        }
        let [low, high] = self.scale;
        if !(0.0 <= low && low <= high && high <= 1.0) {
            return wrong("scale must lie between 0 and 1, the lower bound first");
        }
        let [low, high] = self.ratio;
        if !(0.0 < low && low <= high && high.is_finite()) {
            return wrong("ratio must be positive, the lower bound first");
        }
        match self.value {
            ErasedTo::Channels(value) if !value.iter().all(|value| value.is_finite()) => {
                wrong("value must be finite")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_values_are_read() {
        let read = |text: &str| toml::from_str::<RandomErasing>(text);
        assert_eq!(read("").unwrap(), RandomErasing::default());
        assert_eq!(read("value = \"random\"").unwrap().value, ErasedTo::Random);
        let value = read("value = { channels = [0.5, 0.0, 1.0] }").unwrap().value;
        assert_eq!(value, ErasedTo::Channels([0.5, 0.0, 1.0]));
        assert!(read("p = 0.5").is_err());
    }

    #[test]
    fn senseless_numbers_are_refused_by_name() {
        let refused = |text: &str, what: &str| {
            let erasing: RandomErasing = toml::from_str(text).unwrap();
            let error = erasing.validate().unwrap_err().to_string();
            assert!(error.contains(what), "{text}: {error}");
        };
        refused("probability = 1.1", "probability");
        refused("probability = nan", "probability");
        refused("scale = [0.5, 0.2]", "scale");
        refused("scale = [0.5, 1.2]", "scale");
        refused("ratio = [0.0, 1.0]", "ratio");
        refused("value = { channels = [nan, 0.0, 0.0] }", "value");
    }
}
