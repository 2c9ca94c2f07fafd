//! What a training run is, as plain values.

mod augmentation;
mod loss;
mod optimizer;
mod schedule;

use std::borrow::Cow;
use std::path::Path;

use serde::{Deserialize, Serialize};

use self::schedule::RateCurve;
use crate::ops::adamw::AdamW;
use crate::ops::rmsprop::RmsProp;
use crate::ops::sgd::Sgd;
use crate::ops::{ParamSpec, Role};
use crate::tape::{Clipping, Rule};
use crate::{Error, Result};

pub use self::augmentation::{
    AugMix, AugmentPolicy, Augmentation, AutoAugment, ColorJitter, ErasedTo, FillColour,
    Interpolation, Mixing, RandAugment, RandomErasing, TrivialAugmentWide,
};
pub use self::loss::LossKind;
pub use self::optimizer::OptimizerKind;
pub use self::schedule::{RatePer, Schedule, WarmupMethod};

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
    /// Images of a batch. Batch norm takes its statistics over one.
    pub batch: usize,
    /// Batches whose gradients are added up before a step.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub accumulate: usize,
    /// The rate after the warm-up.
    pub learning_rate: f64,
    /// Images of a step that `learning_rate` is meant for: the rate of a run is in proportion to how many its own steps
    /// have (Goyal et al., 2017). Absent: the rate is what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate_batch: Option<usize>,
    #[serde(default)]
    pub optimizer: OptimizerKind,
    /// Of SGD and RMSprop.
    #[serde(default)]
    pub momentum: f32,
    /// Of SGD.
    #[serde(default)]
    pub nesterov: bool,
    /// What RMSprop keeps of its averages in a step.
    #[serde(default = "alpha", skip_serializing_if = "is_alpha")]
    pub alpha: f64,
    /// Whether RMSprop divides by the deviation of gradients rather than by the root of their mean square.
    #[serde(default, skip_serializing_if = "is_default")]
    pub centered: bool,
    /// β₁ and β₂ of AdamW.
    #[serde(default = "betas")]
    pub betas: [f64; 2],
    /// ε, which keeps divisors from zero; of all but SGD.
    #[serde(default = "eps")]
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
    /// What the learning rate of a layer is multiplied by for each layer behind it (layer-wise learning-rate decay; layers
    /// are those of `models::depth`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_decay: Option<f64>,
    /// The largest norm of all gradients together; larger ones are scaled down to it.
    #[serde(default)]
    pub clip_grad_norm: Option<f32>,
    /// The largest absolute value of a gradient; larger ones become it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_grad_value: Option<f32>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub loss: LossKind,
    #[serde(default)]
    pub label_smoothing: f32,
    /// Epochs over which the rate rises.
    #[serde(default)]
    pub warmup_epochs: usize,
    #[serde(default, skip_serializing_if = "is_default")]
    pub warmup_method: WarmupMethod,
    /// The share of the rate that the warm-up rises from.
    #[serde(default)]
    pub warmup_start: f64,
    #[serde(default)]
    pub ema: Option<Ema>,
    #[serde(default, skip_serializing_if = "Augmentation::is_default")]
    pub augmentation: Augmentation,
    /// Whether the rate changes from step to step or from epoch to epoch.
    #[serde(default, skip_serializing_if = "is_default")]
    pub learning_rate_per: RatePer,
    pub schedule: Schedule,
}

fn one() -> usize {
    1
}

fn is_one(count: &usize) -> bool {
    *count == 1
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn betas() -> [f64; 2] {
    Recipe::BETAS
}

fn eps() -> f64 {
    Recipe::EPS
}

fn alpha() -> f64 {
    Recipe::ALPHA
}

fn is_alpha(alpha: &f64) -> bool {
    *alpha == Recipe::ALPHA
}

/// What a file that is only a recipe holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeFile<'a> {
    recipe: Cow<'a, Recipe>,
}

impl Recipe {
    /// PyTorch's, of AdamW.
    pub const BETAS: [f64; 2] = [0.9, 0.999];
    /// PyTorch's, of every rule.
    pub const EPS: f64 = 1e-8;
    /// PyTorch's, of RMSprop.
    pub const ALPHA: f64 = 0.99;

    /// The recipe in a TOML file that has a table `[recipe]` and nothing else.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::File`] for one that isn't a recipe or makes no sense.
    pub fn open(path: &Path) -> Result<Recipe> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
        let RecipeFile { recipe } = toml::from_str(&text)
            .map_err(|error| Error::toml(path, "isn't a recipe", &text, &error))?;
        recipe.check().map_err(|error| Error::file(path, error.to_string()))?;
        Ok(recipe.into_owned())
    }

    /// The text of a file that [`Recipe::open`] reads.
    ///
    /// # Errors
    /// Numbers that TOML has no form for.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(&RecipeFile { recipe: Cow::Borrowed(self) })
            .map_err(|error| Error::usage(format!("recipe: can't be written as TOML: {error}")))
    }

    /// What a file with these four fields alone says: SGD without momentum, decay and the rest.
    pub fn new(epochs: usize, batch: usize, learning_rate: f64, schedule: Schedule) -> Self {
        Recipe {
            epochs,
            batch,
            accumulate: one(),
            learning_rate,
            learning_rate_batch: None,
            optimizer: OptimizerKind::Sgd,
            momentum: 0.0,
            nesterov: false,
            alpha: Recipe::ALPHA,
            centered: false,
            betas: Recipe::BETAS,
            eps: Recipe::EPS,
            weight_decay: 0.0,
            norm_weight_decay: None,
            bias_weight_decay: None,
            position_weight_decay: None,
            layer_decay: None,
            clip_grad_norm: None,
            clip_grad_value: None,
            loss: LossKind::default(),
            label_smoothing: 0.0,
            warmup_epochs: 0,
            warmup_method: WarmupMethod::default(),
            warmup_start: 0.0,
            ema: None,
            augmentation: Augmentation::default(),
            learning_rate_per: RatePer::default(),
            schedule,
        }
    }

    /// The learning rate of step `step` of `steps_per_epoch` in epoch `epoch` (both from 0), for steps of as many
    /// images as the recipe's rate is meant for; others take [`Recipe::rate_factor`] of it.
    ///
    /// Warm-up: from a share s it is s + (1 − s)·e/E of the rate in epoch e of E, as PyTorch's `LinearLR` has it; where
    /// it rises step by step s + (1 − s)·(t + 1)/T in step t of T. What follows it counts epochs from its end, as the
    /// schedulers that PyTorch's `SequentialLR` joins.
    pub fn learning_rate_at(&self, epoch: usize, step: usize, steps_per_epoch: usize) -> f64 {
        let curve = RateCurve {
            peak: self.learning_rate,
            epochs: self.epochs,
            warmup_epochs: self.warmup_epochs,
            warmup_start: self.warmup_start,
            warmup_method: self.warmup_method,
            per: self.learning_rate_per,
            schedule: &self.schedule,
        };
        curve.at(epoch, step, steps_per_epoch)
    }

    /// What the learning rate is multiplied by where a step has `images` of them.
    pub fn rate_factor(&self, images: usize) -> f64 {
        self.learning_rate_batch.map_or(1.0, |meant| images as f64 / meant as f64)
    }

    /// The same by another optimiser: the numbers that it doesn't have are PyTorch's again.
    pub fn with_optimizer(self, optimizer: OptimizerKind) -> Recipe {
        if self.optimizer == optimizer {
            return self;
        }
        Recipe {
            optimizer,
            momentum: if optimizer.has_momentum() { self.momentum } else { 0.0 },
            nesterov: false,
            alpha: Recipe::ALPHA,
            centered: false,
            betas: Recipe::BETAS,
            eps: Recipe::EPS,
            ..self
        }
    }

    /// The rule with its numbers.
    pub fn rule(&self) -> Rule {
        match self.optimizer {
            OptimizerKind::Sgd => {
                Rule::Sgd(Sgd { momentum: self.momentum, nesterov: self.nesterov })
            }
            OptimizerKind::AdamW => Rule::AdamW(AdamW { betas: self.betas, eps: self.eps }),
            OptimizerKind::RmsProp | OptimizerKind::RmsPropTf => Rule::RmsProp(RmsProp {
                alpha: self.alpha,
                eps: self.eps,
                momentum: self.momentum,
                centered: self.centered,
                tensorflow: self.optimizer == OptimizerKind::RmsPropTf,
            }),
        }
    }

    /// What becomes of gradients before a step.
    pub fn clipping(&self) -> Option<Clipping> {
        let norm = self.clip_grad_norm.map(Clipping::Norm);
        norm.or(self.clip_grad_value.map(Clipping::Value))
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
    /// which torchvision's reference keeps the average's reach the same share of a run; its batch is that of a step, of
    /// all devices together.
    pub fn ema_share(&self, ema: Ema) -> f64 {
        let adjust = (self.batch * self.accumulate * ema.steps) as f64 / self.epochs as f64;
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
        let batches = (1..=1 << 20).contains(&self.accumulate);
        require(batches, "accumulate must lie between 1 and 1048576")?;
        require(is_positive(self.learning_rate), "learning_rate must be a positive number")?;
        let meant = self.learning_rate_batch != Some(0);
        require(meant, "learning_rate_batch must be at least 1")?;
        require(is_share(self.momentum.into()), "momentum must be at least 0 and below 1")?;
        require(!self.nesterov || self.momentum > 0.0, "nesterov needs momentum")?;
        require(self.betas.into_iter().all(is_share), "betas must be at least 0 and below 1")?;
        require(is_positive((self.eps as f32).into()), "eps must be a positive number")?;
        require(is_share(self.alpha), "alpha must be at least 0 and below 1")?;
        self.check_optimizer()?;
        let layers = self.layer_decay.is_none_or(|decay| decay > 0.0 && decay <= 1.0);
        require(layers, "layer_decay must be above 0 and at most 1")?;
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
        let clips = self.clip_grad_value.is_none_or(|value| is_positive(value.into()));
        require(clips, "clip_grad_value must be a positive number")?;
        let both = self.clip_grad_norm.is_some() && self.clip_grad_value.is_some();
        require(!both, "clip_grad_norm and clip_grad_value are two ways to clip")?;
        let smoothing = f64::from(self.label_smoothing);
        require(is_share(smoothing), "label_smoothing must be at least 0 and below 1")?;
        self.loss.check()?;
        require(is_share(self.warmup_start), "warmup_start must be at least 0 and below 1")?;
        let constant = self.warmup_epochs > 0 && self.warmup_method == WarmupMethod::Constant;
        require(
            !constant || self.warmup_start > 0.0,
            "a constant warm-up needs a warmup_start above 0",
        )?;
        let ema = self.ema.unwrap_or(Ema { decay: 0.0, steps: 1 });
        require(is_share(ema.decay), "ema.decay must be at least 0 and below 1")?;
        require(ema.steps > 0, "ema.steps must be at least 1")?;
        let (linear, per_epoch) =
            (self.warmup_method == WarmupMethod::Linear, self.learning_rate_per == RatePer::Epoch);
        require(
            self.warmup_epochs == 0 || !linear || !per_epoch || self.warmup_start > 0.0,
            "a warm-up from epoch to epoch needs a warmup_start above 0",
        )?;
        self.augmentation.check()?;
        require(
            self.augmentation.repetitions as usize <= self.batch,
            "augmentation.repetitions must be at most batch",
        )?;
        self.schedule.check(self.learning_rate)
    }

    /// Refuses numbers of other optimisers than the recipe's.
    fn check_optimizer(&self) -> Result<()> {
        let kind = self.optimizer;
        let idle = [
            ("momentum", self.momentum != 0.0 && !kind.has_momentum()),
            ("nesterov", self.nesterov && kind != OptimizerKind::Sgd),
            ("betas", self.betas != Recipe::BETAS && kind != OptimizerKind::AdamW),
            ("eps", self.eps != Recipe::EPS && kind == OptimizerKind::Sgd),
            ("alpha", self.alpha != Recipe::ALPHA && !kind.is_rmsprop()),
            ("centered", self.centered && !kind.is_rmsprop()),
        ];
        let word: &str = kind.into();
        match idle.into_iter().find(|(_, is_idle)| *is_idle) {
            Some((name, _)) => {
                Err(Error::usage(format!("recipe: {name} has no effect with optimizer {word}")))
            }
            None => Ok(()),
        }
    }
}
