//! What a training run is, as plain values.

mod augmentation;

use serde::{Deserialize, Serialize};
use strum::{EnumIter, EnumString, IntoStaticStr};

use crate::ops::adamw::AdamW;
use crate::ops::sgd::Sgd;
use crate::ops::{ParamSpec, Role};
use crate::tape::Rule;
use crate::{Error, Result};

pub use self::augmentation::{
    AugMix, AugmentPolicy, Augmentation, AutoAugment, ColorJitter, ErasedTo, FillColour,
    Interpolation, Mixing, RandAugment, RandomErasing, TrivialAugmentWide,
};

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
    /// Times `gamma` every `every` epochs (PyTorch's StepLR; with `every` 1, its ExponentialLR).
    Step { every: usize, gamma: f64 },
    /// Half a cosine from the learning rate to `minimum`, step by step.
    Cosine {
        #[serde(default)]
        minimum: f64,
    },
}

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

/// An exponential moving average of the weights, which is evaluated and saved in their place.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ema {
    /// What is kept of the average in an update, before [`Recipe::ema_share`] adjusts it.
    pub decay: f64,
    /// Steps from one update to the next.
    pub steps: usize,
}

/// The hyper-parameters of a training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    pub epochs: usize,
    /// Images of a step.
    pub batch: usize,
    /// Batches whose gradients are added up before a step.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub accumulate: usize,
    /// The rate after the warm-up.
    pub learning_rate: f64,
    #[serde(default)]
    pub optimizer: OptimizerKind,
    /// Of SGD; AdamW doesn't read it, nor the next.
    #[serde(default)]
    pub momentum: f32,
    #[serde(default)]
    pub nesterov: bool,
    /// β₁ and β₂ of AdamW; SGD doesn't read them, nor ε.
    #[serde(default = "default_betas")]
    pub betas: [f64; 2],
    #[serde(default = "default_eps")]
    pub eps: f64,
    /// Of every parameter that has none of its own; with AdamW it is decoupled from the gradient.
    #[serde(default)]
    pub weight_decay: f32,
    /// Of weights of normalisation layers, and of their biases.
    #[serde(default)]
    pub norm_weight_decay: Option<f32>,
    /// Of biases, those of normalisation layers included.
    #[serde(default)]
    pub bias_weight_decay: Option<f32>,
    /// Of tables of position embeddings.
    #[serde(default)]
    pub position_weight_decay: Option<f32>,
    /// The largest norm of all gradients together; larger ones are scaled down to it.
    #[serde(default)]
    pub clip_grad_norm: Option<f32>,
    #[serde(default)]
    pub label_smoothing: f32,
    /// Epochs over which the rate rises linearly, step by step.
    #[serde(default)]
    pub warmup_epochs: usize,
    /// The share of the rate that the warm-up rises from.
    #[serde(default)]
    pub warmup_start: f64,
    #[serde(default)]
    pub ema: Option<Ema>,
    #[serde(default, skip_serializing_if = "Augmentation::is_default")]
    pub augmentation: Augmentation,
    pub schedule: Schedule,
}

fn one() -> usize {
    1
}

fn is_one(number: &usize) -> bool {
    *number == 1
}

/// PyTorch's.
fn default_betas() -> [f64; 2] {
    [0.9, 0.999]
}

/// PyTorch's.
fn default_eps() -> f64 {
    1e-8
}

impl Recipe {
    /// What a file with these four fields alone says: SGD without momentum, decay and the rest.
    pub fn new(epochs: usize, batch: usize, learning_rate: f64, schedule: Schedule) -> Self {
        Recipe {
            epochs,
            batch,
            accumulate: 1,
            learning_rate,
            optimizer: OptimizerKind::Sgd,
            momentum: 0.0,
            nesterov: false,
            betas: default_betas(),
            eps: default_eps(),
            weight_decay: 0.0,
            norm_weight_decay: None,
            bias_weight_decay: None,
            position_weight_decay: None,
            clip_grad_norm: None,
            label_smoothing: 0.0,
            warmup_epochs: 0,
            warmup_start: 0.0,
            ema: None,
            augmentation: Augmentation::default(),
            schedule,
        }
    }

    /// The learning rate of step `step` of `steps_per_epoch` in epoch `epoch` (both from 0).
    ///
    /// Warm-up: s + (1 − s)·(t + 1)/W of the rate in step t of the W warm-up steps, s being where it
    /// starts; torchvision's rises once an epoch, to s + (1 − s)·e/E in epoch e of E. Cosine runs over
    /// the steps after it; StepLR counts whole epochs from the start, as torchvision's does.
    pub fn learning_rate_at(&self, epoch: usize, step: usize, steps_per_epoch: usize) -> f32 {
        let t = (epoch * steps_per_epoch + step) as f64;
        let warmup = (self.warmup_epochs * steps_per_epoch) as f64;
        let total = (self.epochs * steps_per_epoch) as f64;
        if t < warmup {
            let start = self.warmup_start;
            let risen = start * warmup + (1.0 - start) * (t + 1.0);
            return (self.learning_rate * risen / warmup) as f32;
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

    /// The rule with its numbers.
    pub fn rule(&self) -> Rule {
        match self.optimizer {
            OptimizerKind::Sgd => {
                Rule::Sgd(Sgd { momentum: self.momentum, nesterov: self.nesterov })
            }
            OptimizerKind::AdamW => Rule::AdamW(AdamW { betas: self.betas, eps: self.eps }),
        }
    }

    /// The weight decay of a parameter. As in torchvision's reference a bias is asked for first,
    /// whatever its layer: with `norm_weight_decay` alone, a normalisation layer's bias has that.
    pub fn decay_of(&self, spec: &ParamSpec) -> f32 {
        let own = match spec.role {
            Role::Bias => self.bias_weight_decay,
            Role::Norm if spec.name == "bias" => self.bias_weight_decay.or(self.norm_weight_decay),
            Role::Norm => self.norm_weight_decay,
            Role::Position => self.position_weight_decay,
            Role::Weight | Role::Scale | Role::Buffer | Role::Counter | Role::Index => None,
        };
        own.unwrap_or(self.weight_decay)
    }

    /// The newcomers' share in an update of the average: (1 − decay)·batch·steps/epochs, at most 1, by
    /// which torchvision's reference keeps the average's reach the same share of a run.
    pub fn ema_share(&self, ema: Ema) -> f64 {
        let images = self.batch * self.accumulate;
        let adjust = (images * ema.steps) as f64 / self.epochs as f64;
        ((1.0 - ema.decay) * adjust).min(1.0)
    }

    /// Refuses numbers that can't be a training run.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the field.
    pub fn check(&self) -> Result<()> {
        let require = |holds: bool, what: &str| match holds {
            true => Ok(()),
            false => Err(Error::usage(format!("recipe: {what}"))),
        };
        let is_share = |number: f64| (0.0..1.0).contains(&number);
        let is_positive = |number: f64| number.is_finite() && number > 0.0;
        require(self.epochs > 0 && self.batch > 0, "epochs and batch must be at least 1")?;
        require(self.accumulate > 0, "accumulate must be at least 1")?;
        require(is_positive(self.learning_rate), "learning_rate must be a positive number")?;
        require(is_share(self.momentum.into()), "momentum must be at least 0 and below 1")?;
        require(!self.nesterov || self.momentum > 0.0, "nesterov needs momentum")?;
        require(self.betas.into_iter().all(is_share), "betas must be at least 0 and below 1")?;
        require(is_positive((self.eps as f32).into()), "eps must be a positive number")?;
        let decays = [
            ("weight_decay", Some(self.weight_decay)),
            ("norm_weight_decay", self.norm_weight_decay),
            ("bias_weight_decay", self.bias_weight_decay),
            ("position_weight_decay", self.position_weight_decay),
        ];
        for (name, decay) in decays {
            let decay = f64::from(decay.unwrap_or(0.0));
            require(is_share(decay), &format!("{name} must be at least 0 and below 1"))?;
        }
        let clips = self.clip_grad_norm.is_none_or(|norm| is_positive(norm.into()));
        require(clips, "clip_grad_norm must be a positive number")?;
        let smoothing = f64::from(self.label_smoothing);
        require(is_share(smoothing), "label_smoothing must be at least 0 and below 1")?;
        require(is_share(self.warmup_start), "warmup_start must be at least 0 and below 1")?;
        let ema = self.ema.unwrap_or(Ema { decay: 0.0, steps: 1 });
        require(is_share(ema.decay), "ema.decay must be at least 0 and below 1")?;
        require(ema.steps > 0, "ema.steps must be at least 1")?;
        self.augmentation.check()?;
        match self.schedule {
            Schedule::Step { every, gamma } => {
                require(every > 0, "schedule.every must be at least 1")?;
                require(is_positive(gamma), "schedule.gamma must be a positive number")
            }
            Schedule::Cosine { minimum } => {
                let within = (0.0..=self.learning_rate).contains(&minimum);
                require(within, "schedule.minimum must be at least 0 and at most learning_rate")
            }
        }
    }
}
