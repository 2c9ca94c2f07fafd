//! Which rule moves the parameters.

use serde::{Deserialize, Serialize};
use strum::{EnumIter, EnumString, IntoStaticStr};

use crate::Error;

/// Which rule moves the parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[derive(EnumIter, EnumString, IntoStaticStr)]
#[strum(serialize_all = "lowercase", parse_err_ty = Error, parse_err_fn = unknown)]
pub enum OptimizerKind {
    /// Stochastic gradient descent with `momentum` and `nesterov`.
    #[default]
    Sgd,
    /// Adam with decoupled weight decay, `betas` and `eps`.
    AdamW,
    /// RMSprop with `alpha`, `eps`, `momentum` and `centered`, as PyTorch has it.
    RmsProp,
    /// The same as TensorFlow has it: ε inside of the root, averages that begin at 1, the rate inside of the momentum
    /// (timm's `RMSpropTF`).
    RmsPropTf,
}

impl OptimizerKind {
    /// Whether it is one of the two RMSprops.
    pub fn is_rmsprop(self) -> bool {
        matches!(self, OptimizerKind::RmsProp | OptimizerKind::RmsPropTf)
    }

    /// Whether it has a momentum.
    pub fn has_momentum(self) -> bool {
        self != OptimizerKind::AdamW
    }
}

fn unknown(word: &str) -> Error {
    Error::unknown::<OptimizerKind>("optimizer", word)
}
