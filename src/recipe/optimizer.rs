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
}

fn unknown(word: &str) -> Error {
    Error::unknown::<OptimizerKind>("optimizer", word)
}
