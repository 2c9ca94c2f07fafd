//! What is looked for in a file with weights.

use strum::{Display, EnumIter, EnumString, IntoStaticStr};

use crate::Error;

/// Which of a training run's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, EnumIter, EnumString, IntoStaticStr)]
#[strum(serialize_all = "lowercase", parse_err_ty = Error, parse_err_fn = unknown)]
pub enum WeightsKind {
    /// Those that the optimiser changes.
    Plain,
    /// Their moving average.
    Ema,
}

impl WeightsKind {
    pub(super) fn described(self) -> &'static str {
        match self {
            WeightsKind::Plain => "plain weights",
            WeightsKind::Ema => "averaged weights",
        }
    }
}

fn unknown(word: &str) -> Error {
    Error::unknown::<WeightsKind>("kind of weights", word)
}

/// How well tensors of some names fit a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ModelFit {
    No,
    /// Most of the model's names are there.
    Partly,
    /// All of the model's names are there, and others.
    WithOthers,
    /// All of the model's names are there, and no others.
    Wholly,
}

/// What is looked for in a file.
pub struct Wanted<'w> {
    /// Which weights, of a file with both; absent, the plain ones where there are any.
    pub kind: Option<WeightsKind>,
    /// How well tensors of such names fit.
    pub fit: &'w dyn Fn(&[&str]) -> ModelFit,
}
