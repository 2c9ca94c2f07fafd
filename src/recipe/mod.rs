//! What a training run is, as plain values.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Interpolation filters, as Pillow defines them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// A triangle of radius 1.
    #[default]
    Bilinear,
    /// Keys' cubic of radius 2 with a = −1/2.
    Bicubic,
}

/// How the learning rate goes down, after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Schedule {
    /// Times `gamma` every `every` epochs (PyTorch's StepLR).
    Step { every: usize, gamma: f64 },
    /// Half a cosine from the learning rate to `minimum`, step by step.
    Cosine {
        #[serde(default)]
        minimum: f64,
    },
}

/// The hyper-parameters of a training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    pub epochs: usize,
    /// Images of a step.
    pub batch: usize,
    /// The rate after the warm-up.
    pub learning_rate: f64,
    #[serde(default)]
    pub momentum: f32,
    #[serde(default)]
    pub nesterov: bool,
    #[serde(default)]
    pub weight_decay: f32,
    #[serde(default)]
    pub label_smoothing: f32,
    /// Epochs over which the rate rises linearly, step by step.
    #[serde(default)]
    pub warmup_epochs: usize,
    pub schedule: Schedule,
}

impl Recipe {
    /// The learning rate of step `step` of `steps_per_epoch` in epoch `epoch` (both from 0).
    ///
    /// Warm-up: (t + 1)/W of the rate in step t of the W warm-up steps. Cosine runs over the steps
    /// after it; StepLR counts whole epochs from the start, as torchvision's does.
    pub fn learning_rate_at(&self, epoch: usize, step: usize, steps_per_epoch: usize) -> f32 {
        let t = (epoch * steps_per_epoch + step) as f64;
        let warmup = (self.warmup_epochs * steps_per_epoch) as f64;
        let total = (self.epochs * steps_per_epoch) as f64;
        if t < warmup {
            return (self.learning_rate * (t + 1.0) / warmup) as f32;
        }
        let rate = match self.schedule {
            Schedule::Step { every, gamma } => {
                self.learning_rate * gamma.powi((epoch / every.max(1)) as i32)
            }
            Schedule::Cosine { minimum } => {
                let progress = (t - warmup) / (total - warmup).max(1.0);
                let half = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
                minimum + (self.learning_rate - minimum) * half
            }
        };
        rate as f32
    }

    /// Refuses numbers that can't be a training run.
    pub fn check(&self) -> Result<()> {
        let bad = |what: &str| Err(Error::usage(format!("recipe: {what}")));
        if self.epochs == 0 || self.batch == 0 {
            return bad("epochs and batch must be at least 1");
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return bad("the learning rate must be a positive number");
        }
        if !(0.0..1.0).contains(&self.label_smoothing) {
            return bad("label smoothing must be at least 0 and below 1");
        }
        if !(0.0..1.0).contains(&self.momentum) || !(0.0..1.0).contains(&self.weight_decay) {
            return bad("momentum and weight decay must be at least 0 and below 1");
        }
        if self.nesterov && self.momentum == 0.0 {
            return bad("nesterov needs momentum");
        }
        Ok(())
    }
}
