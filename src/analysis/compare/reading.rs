//! The readings of a comparison, by the words in which one of them is named in advance.

use serde::Serialize;
use strum::{EnumIter, EnumString, IntoStaticStr};

use super::{Comparison, Improvement, RateChange};
use crate::analysis::scope::Weighting;
use crate::detector::Detector;
use crate::results::Outcome;
use crate::statistics::Estimate;
use crate::{Error, Result};

/// A figure that a comparison can be about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[derive(EnumIter, EnumString, IntoStaticStr)]
#[strum(serialize_all = "kebab-case", parse_err_ty = Error, parse_err_fn = unknown)]
pub enum Reading {
    /// The ratio of mean ΔLoss under the range detector, all layers alike, the extra Linear included.
    #[default]
    DeltaLoss,
    /// The same by neurons, and by multiply-accumulates.
    DeltaLossNeurons,
    DeltaLossMacs,
    /// The same of the last layer, after the scale and before it.
    DeltaLossLastLayer,
    DeltaLossLastLayerBeforeScale,
    /// The difference of SDC rates without a detector, all layers alike.
    Sdc,
    /// The same of nonfinite answers.
    Nonfinite,
    /// Both under the range detector.
    SdcRange,
    NonfiniteRange,
}

fn unknown(word: &str) -> Error {
    Error::unknown::<Reading>("reading", word)
}

impl Reading {
    /// The word on the command line.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The words in a table's footer.
    pub const fn words(self) -> &'static str {
        match self {
            Reading::DeltaLoss => "mean ΔLoss of all layers, layers alike",
            Reading::DeltaLossNeurons => "mean ΔLoss of all layers, by neurons",
            Reading::DeltaLossMacs => "mean ΔLoss of all layers, by MACs",
            Reading::DeltaLossLastLayer => "mean ΔLoss of the last layer, after the scale",
            Reading::DeltaLossLastLayerBeforeScale => {
                "mean ΔLoss of the last layer, before the scale"
            }
            Reading::Sdc => "the SDC rate without a detector",
            Reading::Nonfinite => "the rate of nonfinite answers without a detector",
            Reading::SdcRange => "the SDC rate under range",
            Reading::NonfiniteRange => "the rate of nonfinite answers under range",
        }
    }

    /// Whether it is a ratio, and no difference in points.
    pub const fn is_ratio(self) -> bool {
        self.rate().is_none()
    }

    /// Which rate it is; `None` of a ratio.
    const fn rate(self) -> Option<(Detector, Outcome)> {
        match self {
            Reading::Sdc => Some((Detector::None, Outcome::Sdc)),
            Reading::Nonfinite => Some((Detector::None, Outcome::Nonfinite)),
            Reading::SdcRange => Some((Detector::Range, Outcome::Sdc)),
            Reading::NonfiniteRange => Some((Detector::Range, Outcome::Nonfinite)),
            _ => None,
        }
    }

    /// Whether it is this improvement over all layers.
    pub fn is_overall(self, weighting: Weighting, embedding: bool) -> bool {
        let of = match self {
            Reading::DeltaLoss => Weighting::Uniform,
            Reading::DeltaLossNeurons => Weighting::Neurons,
            Reading::DeltaLossMacs => Weighting::Macs,
            _ => return false,
        };
        embedding && of == weighting
    }

    /// Whether it is this rate.
    pub fn is_rate(self, rate: &RateChange) -> bool {
        self.rate() == Some((rate.detector, rate.outcome))
    }

    /// Its figure in a comparison; `None` where it isn't measured.
    pub fn of(self, comparison: &Comparison) -> Option<Estimate> {
        let ratio = |improvement: &Improvement| improvement.ratio;
        match self {
            Reading::DeltaLossLastLayer => comparison.last_layer.as_ref().map(ratio),
            Reading::DeltaLossLastLayerBeforeScale => {
                comparison.last_layer_before_scale.as_ref().map(ratio)
            }
            _ if self.is_ratio() => {
                let mut overall = comparison.overall.iter();
                let wanted = overall.find(|one| self.is_overall(one.weighting, one.embedding));
                wanted.map(|overall| overall.improvement.ratio)
            }
            _ => {
                let wanted = comparison.rates.iter().find(|rate| self.is_rate(rate));
                wanted.map(|rate| rate.difference)
            }
        }
    }
}

/// What a comparison is to answer: which reading was named in advance, and how large a difference of it matters.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PlannedReading {
    pub primary: Reading,
    /// A factor above 1 of a ratio, percentage points of a rate.
    pub margin: Option<f64>,
}

impl PlannedReading {
    /// # Errors
    /// [`Error::Usage`] where the margin isn't one of the primary reading.
    pub fn new(primary: Reading, margin: Option<f64>) -> Result<PlannedReading> {
        let (is_right, what) = match primary.is_ratio() {
            true => {
                (margin.is_none_or(|m| m > 1.0 && m.is_finite()), "a factor above 1, as 1.1 is")
            }
            false => (
                margin.is_none_or(|m| m > 0.0 && m < 100.0),
                "percentage points between 0 and 100, as 0.5 is",
            ),
        };
        if !is_right {
            return Err(Error::usage(format!(
                "the margin of {} is {what}, not {}",
                primary.name(),
                margin.unwrap_or_default()
            )));
        }
        Ok(PlannedReading { primary, margin })
    }
}
