//! What is done to training images, as plain values.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How the images of a batch are mixed, and their labels with them. The words are those of torchvision's reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mixing {
    /// mixup (Zhang et al., 2018): a share λ ~ Beta(α, α) of each image and 1 − λ of its neighbour; 0 is off.
    #[serde(default)]
    pub mixup_alpha: f64,
    /// CutMix (Yun et al., 2019): a box of the neighbour, of a share 1 − λ, λ ~ Beta(α, α); 0 is off. Where both are on, a
    /// batch has either with a probability of one half.
    #[serde(default)]
    pub cutmix_alpha: f64,
}

impl Mixing {
    /// Whether nothing is mixed.
    pub fn is_none(&self) -> bool {
        self.mixup_alpha == 0.0 && self.cutmix_alpha == 0.0
    }
}

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
    #[serde(default, skip_serializing_if = "Mixing::is_none")]
    pub mixing: Mixing,
    /// How often in a row an image comes in an epoch, each time augmented anew; an epoch has as many images as before.
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
        let is_alpha = |alpha: f64| (0.0..=100.0).contains(&alpha);
        require(is_alpha(self.mixing.mixup_alpha), "mixup_alpha must lie between 0 and 100")?;
        require(is_alpha(self.mixing.cutmix_alpha), "cutmix_alpha must lie between 0 and 100")?;
        require((1..=64).contains(&self.repetitions), "repetitions must lie between 1 and 64")
    }
}
