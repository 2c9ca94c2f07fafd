//! What is done to training images, as plain values.

mod erasing;
mod jitter;
mod mixing;
mod policy;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

pub use erasing::{ErasedTo, RandomErasing};
pub use jitter::ColorJitter;
pub use mixing::Mixing;
pub use policy::{
    AugMix, AugmentPolicy, AutoAugment, FillColour, Interpolation, RandAugment, TrivialAugmentWide,
};

/// How training images are changed from epoch to epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augmentation {
    /// Bounds of the share of an image that a random resized crop has; absent: those for the images' size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop_scale: Option<[f64; 2]>,
    /// Instead of the random resized crop: this many black pixels on each side, and a random crop of the images' size out of
    /// the image as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop_padding: Option<usize>,
    /// Probability of mirroring left to right.
    #[serde(default = "half")]
    pub flip: f64,
    /// Random brightness, contrast, saturation and hue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<ColorJitter>,
    /// Automatic augmentation. It interpolates as images are resized, unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<AugmentPolicy>,
    /// Rectangles of the normalised image that are erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erasing: Option<RandomErasing>,
    #[serde(default, skip_serializing_if = "Mixing::is_none")]
    pub mixing: Mixing,
    /// How often a batch has each of its images, each time augmented anew; an epoch has as many images as before.
    #[serde(default = "one")]
    pub repetitions: u32,
}

fn half() -> f64 {
    0.5
}

fn one() -> u32 {
    1
}

impl Default for Augmentation {
    fn default() -> Self {
        Augmentation {
            crop_scale: None,
            crop_padding: None,
            flip: half(),
            jitter: None,
            policy: None,
            erasing: None,
            mixing: Mixing::default(),
            repetitions: one(),
        }
    }
}

impl Augmentation {
    /// Whether it is what recipes have that don't say.
    pub fn is_default(&self) -> bool {
        *self == Augmentation::default()
    }

    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the field.
    pub fn check(&self) -> Result<()> {
        let require = |holds: bool, what: &str| match holds {
            true => Ok(()),
            false => Err(Error::usage(format!("recipe: augmentation: {what}"))),
        };
        let within = |[low, high]: [f64; 2]| low > 0.0 && low <= high && high <= 1.0;
        let scale = self.crop_scale.is_none_or(within);
        require(scale, "crop_scale must be two numbers above 0 and up to 1, the lower first")?;
        let padding = self.crop_padding.is_none_or(|padding| padding <= 1024);
        require(padding, "crop_padding must be at most 1024 pixels")?;
        let one_crop = self.crop_padding.is_none() || self.crop_scale.is_none();
        require(one_crop, "crop_scale and crop_padding are two ways to crop")?;
        require((0.0..=1.0).contains(&self.flip), "flip must lie between 0 and 1")?;
        self.jitter.map_or(Ok(()), |jitter| jitter.validate())?;
        self.policy.map_or(Ok(()), |policy| policy.validate())?;
        self.erasing.map_or(Ok(()), |erasing| erasing.validate())?;
        self.mixing.validate()?;
        require((1..=64).contains(&self.repetitions), "repetitions must lie between 1 and 64")
    }
}
