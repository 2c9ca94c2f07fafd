//! What is looked for in a file with weights.

use std::fmt;
use std::str::FromStr;

/// Which of a training run's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightsKind {
    /// Those that the optimiser changes.
    Plain,
    /// Their moving average.
    Ema,
}

impl fmt::Display for WeightsKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WeightsKind::Plain => "plain",
            WeightsKind::Ema => "ema",
        })
    }
}

impl FromStr for WeightsKind {
    type Err = String;

    fn from_str(text: &str) -> Result<WeightsKind, String> {
        match text {
            "plain" => Ok(WeightsKind::Plain),
            "ema" => Ok(WeightsKind::Ema),
            _ => Err("is plain or ema".into()),
        }
    }
}

impl WeightsKind {
    pub(super) fn described(self) -> &'static str {
        match self {
            WeightsKind::Plain => "plain weights",
            WeightsKind::Ema => "averaged weights",
        }
    }
}

/// How well tensors of some names fit a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
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
    pub fit: &'w dyn Fn(&[&str]) -> Fit,
}
