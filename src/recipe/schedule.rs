//! How the learning rate changes over a run: the warm-up and what comes after it.

use serde::{Deserialize, Serialize};
use strum::{EnumIter, EnumString, IntoStaticStr};

use crate::{Error, Result};

/// How the learning rate goes down after the warm-up. Epochs count from the end of the warm-up, as in
/// torchvision's reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Schedule {
    /// It stays as it is.
    Constant {},
    /// Times `gamma` every `every` epochs (PyTorch's `StepLR`).
    Step { every: usize, gamma: f64 },
    /// Times `gamma` at each of the `milestones`, which are epochs (`MultiStepLR`).
    MultiStep { milestones: Vec<usize>, gamma: f64 },
    /// Times `gamma` an epoch (`ExponentialLR`).
    Exponential { gamma: f64 },
    /// Half a cosine from the learning rate to `minimum` (`CosineAnnealingLR`).
    Cosine {
        #[serde(default)]
        minimum: f64,
    },
    /// Times (1 − t/T)^`power` at t of T epochs (`PolynomialLR`).
    Polynomial { power: f64 },
}

impl Schedule {
    /// The rate `epochs` behind the warm-up, which is the share `progress` of what follows it, of a run whose rate is
    /// `peak`.
    fn rate(&self, peak: f64, epochs: f64, progress: f64) -> f64 {
        match self {
            Schedule::Constant {} => peak,
            Schedule::Step { every, gamma } => {
                peak * gamma.powi((epochs / (*every).max(1) as f64) as i32)
            }
            Schedule::MultiStep { milestones, gamma } => {
                let passed = milestones.iter().filter(|at| **at as f64 <= epochs).count();
                peak * gamma.powi(passed as i32)
            }
            Schedule::Exponential { gamma } => peak * gamma.powf(epochs),
            Schedule::Cosine { minimum } => {
                let half = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
                minimum + (peak - minimum) * half
            }
            Schedule::Polynomial { power } => peak * (1.0 - progress.min(1.0)).powf(*power),
        }
    }

    /// Refuses numbers that make no schedule of a run whose rate is `peak`.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the field.
    pub(super) fn check(&self, peak: f64) -> Result<()> {
        let require = |holds: bool, what: &str| match holds {
            true => Ok(()),
            false => Err(Error::usage(format!("recipe: schedule.{what}"))),
        };
        let is_positive = |number: f64| number.is_finite() && number > 0.0;
        match self {
            Schedule::Constant {} => Ok(()),
            Schedule::Step { every, gamma } => {
                require(*every > 0, "every must be at least 1")?;
                require(is_positive(*gamma), "gamma must be a positive number")
            }
            Schedule::MultiStep { milestones, gamma } => {
                let rise = milestones.is_sorted_by(|one, next| one < next);
                let some = milestones.first().is_some_and(|first| *first > 0);
                require(
                    some && rise,
                    "milestones must be epochs from 1, each later than the last",
                )?;
                require(is_positive(*gamma), "gamma must be a positive number")
            }
            Schedule::Exponential { gamma } => {
                require(is_positive(*gamma), "gamma must be a positive number")
            }
            Schedule::Cosine { minimum } => {
                let within = (0.0..=peak).contains(minimum);
                require(within, "minimum must be at least 0 and at most learning_rate")
            }
            Schedule::Polynomial { power } => {
                require(is_positive(*power), "power must be a positive number")
            }
        }
    }
}

/// How the learning rate rises at the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[derive(EnumIter, EnumString, IntoStaticStr)]
#[strum(serialize_all = "lowercase", parse_err_ty = Error, parse_err_fn = unknown_warmup)]
pub enum WarmupMethod {
    /// It rises evenly to the whole.
    #[default]
    Linear,
    /// It stays where it starts until the warm-up is over.
    Constant,
}

fn unknown_warmup(word: &str) -> Error {
    Error::unknown::<WarmupMethod>("warm-up", word)
}

/// When the learning rate changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[derive(EnumIter, EnumString, IntoStaticStr)]
#[strum(serialize_all = "lowercase", parse_err_ty = Error, parse_err_fn = unknown_per)]
pub enum RatePer {
    /// From step to step.
    #[default]
    Step,
    /// From epoch to epoch, as in torchvision's reference.
    Epoch,
}

fn unknown_per(word: &str) -> Error {
    Error::unknown::<RatePer>("unit of the learning rate's changes", word)
}

/// The rises and falls of a run's learning rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct RateCurve<'a> {
    pub peak: f64,
    pub epochs: usize,
    pub warmup_epochs: usize,
    /// The share of the peak that the warm-up begins at.
    pub warmup_start: f64,
    pub warmup_method: WarmupMethod,
    pub per: RatePer,
    pub schedule: &'a Schedule,
}

impl RateCurve<'_> {
    /// The rate of step `step` of `steps` in epoch `epoch`, both from 0.
    pub fn at(&self, epoch: usize, step: usize, steps: usize) -> f64 {
        let warmup = self.warmup_epochs;
        if epoch < warmup {
            let start = self.warmup_start;
            return match (self.warmup_method, self.per) {
                (WarmupMethod::Constant, _) => self.peak * start,
                // The first step has risen already, so that none is lost where the start is 0.
                (WarmupMethod::Linear, RatePer::Step) => {
                    let (at, end) = ((epoch * steps + step) as f64, (warmup * steps) as f64);
                    self.peak * (start * end + (1.0 - start) * (at + 1.0)) / end
                }
                (WarmupMethod::Linear, RatePer::Epoch) => {
                    self.peak * (start + (1.0 - start) * epoch as f64 / warmup as f64)
                }
            };
        }
        let (done, an_epoch) = match self.per {
            RatePer::Step => ((epoch - warmup) * steps + step, steps),
            RatePer::Epoch => (epoch - warmup, 1),
        };
        let all = self.epochs.saturating_sub(warmup) * an_epoch;
        let (done, all) = (done as f64, (all as f64).max(1.0));
        self.schedule.rate(self.peak, done / an_epoch as f64, done / all)
    }
}
