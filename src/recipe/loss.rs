//! Which loss a network is trained by.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Which function of logits and targets a loss is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields)]
pub enum LossKind {
    /// Softmax cross-entropy.
    #[serde(rename = "cross-entropy")]
    CrossEntropy {},
    /// Binary cross-entropy with logits, of each class for itself.
    #[serde(rename = "bce")]
    BinaryCrossEntropy {
        /// Whether an image's loss is the sum over the classes rather than their mean.
        #[serde(default)]
        sum: bool,
        /// Smoothed targets above this are taken for 1, others for 0.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target_threshold: Option<f32>,
    },
}

impl Default for LossKind {
    fn default() -> Self {
        LossKind::CrossEntropy {}
    }
}

impl LossKind {
    /// Refuses a threshold that no target crosses.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the field.
    pub(super) fn check(&self) -> Result<()> {
        let LossKind::BinaryCrossEntropy { target_threshold: Some(threshold), .. } = self else {
            return Ok(());
        };
        if (0.0..1.0).contains(threshold) {
            return Ok(());
        }
        Err(Error::usage("recipe: loss.target_threshold must be at least 0 and below 1"))
    }
}
