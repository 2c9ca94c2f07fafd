//! Which images of a batch are mixed with each other, and how much.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How the images of a batch are mixed, and their labels with them. The words are those of torchvision's reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mixing {
    /// mixup (Zhang et al., 2018): a share λ ~ Beta(α, α) of each image and 1 − λ of its neighbour; 0 is off.
    pub mixup_alpha: f64,
    /// CutMix (Yun et al., 2019): a box of the neighbour, of a share 1 − λ, λ ~ Beta(α, α); 0 is off. Where both are on, a
    /// batch has either with a probability of one half.
    pub cutmix_alpha: f64,
}

impl Mixing {
    /// Whether nothing is mixed.
    pub fn is_none(&self) -> bool {
        self.mixup_alpha == 0.0 && self.cutmix_alpha == 0.0
    }

    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the one that doesn't.
    pub fn validate(&self) -> Result<()> {
        for (name, alpha) in [("mixup", self.mixup_alpha), ("cutmix", self.cutmix_alpha)] {
            if alpha != 0.0 && !(1e-3..=1e6).contains(&alpha) {
                let detail = format!("{name}_alpha must be 0 or lie between 0.001 and 1,000,000");
                return Err(Error::usage(detail));
            }
        }
        Ok(())
    }
}
