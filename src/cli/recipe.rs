//! Flags that say how a model is trained. Their names are those of torchvision's reference for classification, where it
//! has them.

use std::path::{Path, PathBuf};

use super::augment::AugmentArgs;
use super::common::refuse_idle;
use crate::models::{Model, ModelFile};
use crate::ops::Role;
use crate::recipe::{Ema, LossKind, OptimizerKind, RatePer, Recipe, Schedule, WarmupMethod};
use crate::{Error, Result};

/// Numbers of a training run; what is absent comes from the recipe.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Recipe")]
pub struct RecipeArgs {
    /// Take the recipe of this .toml file, which has a table [recipe], or of this model
    #[arg(long, value_name = "FILE")]
    pub recipe: Option<PathBuf>,
    /// Number of training epochs
    #[arg(long)]
    pub epochs: Option<usize>,
    /// Batch size
    #[arg(long, alias = "batch", value_name = "N")]
    pub batch_size: Option<usize>,
    /// Batches per step, whose gradients are accumulated: a step has N times --batch-size images
    #[arg(long, value_name = "N")]
    pub grad_accum_steps: Option<usize>,
    /// Peak learning rate; it is reached after the warm-up. It is taken as it is, whatever the recipe says of the images
    /// of a step
    #[arg(long, alias = "learning-rate")]
    pub lr: Option<f64>,
    /// Images per step that the learning rate is meant for: it is scaled in proportion to those that steps have
    #[arg(long, value_name = "N")]
    pub lr_batch_size: Option<usize>,
    /// Optimizer: sgd, sgd_nesterov, adamw, rmsprop, or rmsproptf, which is TensorFlow's RMSprop
    #[arg(long, alias = "optimizer", value_name = "RULE", value_parser = parse_optimizer)]
    pub opt: Option<ChosenOptimizer>,
    /// Momentum (sgd, rmsprop)
    #[arg(long)]
    pub momentum: Option<f32>,
    /// Use Nesterov momentum, as --opt sgd_nesterov (sgd only)
    #[arg(long)]
    pub nesterov: bool,
    /// AdamW's decay rates of the first and second moments, as in 0.9,0.999
    #[arg(long, value_parser = parse_betas)]
    pub betas: Option<[f64; 2]>,
    /// What RMSprop keeps of its averages in a step; 0.99 if absent
    #[arg(long)]
    pub alpha: Option<f64>,
    /// Divide by the deviation of gradients rather than by the root of their mean square (rmsprop only)
    #[arg(long)]
    pub centered: bool,
    /// Epsilon, added to the denominator (adamw, rmsprop)
    #[arg(long)]
    pub eps: Option<f64>,
    /// Weight decay of all parameters that the other weight-decay flags don't cover
    #[arg(long)]
    pub weight_decay: Option<f32>,
    /// Weight decay of normalisation layers; also of their biases unless --bias-weight-decay is given
    #[arg(long)]
    pub norm_weight_decay: Option<f32>,
    /// Weight decay of all biases, including those of normalisation layers
    #[arg(long)]
    pub bias_weight_decay: Option<f32>,
    /// Weight decay of the tables of relative position biases
    #[arg(long, alias = "position-weight-decay")]
    pub transformer_embedding_decay: Option<f32>,
    /// Layer-wise learning-rate decay: each layer (a block of the network) learns at this share of the rate of the next one,
    /// the head at the whole rate
    #[arg(long, value_name = "SHARE")]
    pub layer_decay: Option<f64>,
    /// Clip gradients to this global norm; 0 turns clipping off
    #[arg(long, value_name = "NORM")]
    pub clip_grad_norm: Option<f32>,
    /// Clip each gradient to this absolute value; 0 turns clipping off
    #[arg(long, value_name = "VALUE", conflicts_with = "clip_grad_norm")]
    pub clip_grad_value: Option<f32>,
    /// Loss: cross-entropy, or bce, the binary cross-entropy of each class for itself
    #[arg(long, value_name = "KIND", value_parser = parse_loss)]
    pub loss: Option<LossKind>,
    /// Sum the binary cross-entropy over the classes instead of taking their mean (bce)
    #[arg(long)]
    pub bce_sum: bool,
    /// Take smoothed and mixed targets above this for 1, others for 0 (bce)
    #[arg(long, value_name = "SHARE")]
    pub bce_target_thresh: Option<f32>,
    /// Label smoothing
    #[arg(long)]
    pub label_smoothing: Option<f32>,
    /// Learning-rate schedule after the warm-up: constant, steplr, multisteplr, exponentiallr, cosineannealinglr or
    /// polynomiallr
    #[arg(long, value_name = "KIND", value_parser = parse_scheduler)]
    pub lr_scheduler: Option<Scheduler>,
    /// Epochs between two decreases (steplr)
    #[arg(long, value_name = "EPOCHS")]
    pub lr_step_size: Option<usize>,
    /// Epochs at which the rate decreases, as in 30,60,80 (multisteplr)
    #[arg(long, value_name = "EPOCHS", value_parser = parse_milestones)]
    pub lr_milestones: Option<Milestones>,
    /// Factor of a decrease (steplr, multisteplr), or of an epoch (exponentiallr)
    #[arg(long, value_name = "FACTOR")]
    pub lr_gamma: Option<f64>,
    /// Learning rate at the end (cosineannealinglr)
    #[arg(long, value_name = "LR")]
    pub lr_min: Option<f64>,
    /// Exponent of the share of epochs that are left (polynomiallr)
    #[arg(long, value_name = "P")]
    pub lr_power: Option<f64>,
    /// Whether the learning rate changes from step to step or from epoch to epoch, as in torchvision: step or epoch
    #[arg(long, value_name = "UNIT")]
    pub lr_per: Option<RatePer>,
    /// Epochs of warm-up
    #[arg(long, alias = "warmup-epochs", value_name = "EPOCHS")]
    pub lr_warmup_epochs: Option<usize>,
    /// How the rate rises: linear, or constant, which stays where it starts
    #[arg(long, value_name = "METHOD")]
    pub lr_warmup_method: Option<WarmupMethod>,
    /// Share of the learning rate at which the warm-up starts; if the recipe has none, 0, or 0.01 where the rate changes from
    /// epoch to epoch
    #[arg(long, alias = "warmup-start", value_name = "SHARE")]
    pub lr_warmup_decay: Option<f64>,
    /// Evaluate and save an exponential moving average of the weights
    #[arg(long)]
    pub model_ema: bool,
    /// Decay of the average in an update, adjusted to batch size and epochs as in torchvision; 0.99998 if absent
    #[arg(long, value_name = "DECAY")]
    pub model_ema_decay: Option<f64>,
    /// Steps from one update of the average to the next; 32 if absent
    #[arg(long, value_name = "STEPS")]
    pub model_ema_steps: Option<usize>,
    /// Evaluate and save the weights themselves, even if the recipe asks for a moving average
    #[arg(long, alias = "no-ema", conflicts_with_all = ["model_ema", "model_ema_decay", "model_ema_steps"])]
    pub no_model_ema: bool,
    #[command(flatten)]
    pub augmentation: AugmentArgs,
}

/// torchvision's defaults.
const EMA: Ema = Ema { decay: 0.99998, steps: 32 };
const STEP_SIZE: usize = 30;
const GAMMA: f64 = 0.1;
const WARMUP_DECAY: f64 = 0.01;

impl RecipeArgs {
    /// The recipe of --recipe, if it is given.
    ///
    /// # Errors
    /// A file that isn't a recipe.
    pub fn named(&self) -> Result<Option<Recipe>> {
        self.recipe.as_deref().map(recipe_of).transpose()
    }

    /// `base` with the flags' numbers.
    ///
    /// # Errors
    /// A flag that changes nothing, a number that makes no sense.
    pub fn over(&self, base: Recipe) -> Result<Recipe> {
        let optimizer = self.opt.map_or(base.optimizer, |opt| opt.kind);
        let base = base.with_optimizer(optimizer);
        let is_sgd = optimizer == OptimizerKind::Sgd;
        let is_adamw = optimizer == OptimizerKind::AdamW;
        let schedule = self.schedule(&base.schedule)?;
        let learning_rate_per = self.lr_per.unwrap_or(base.learning_rate_per);
        let warmup_start = match (learning_rate_per, base.warmup_start) {
            (RatePer::Epoch, 0.0) => WARMUP_DECAY,
            (_, start) => start,
        };
        let recipe = Recipe {
            epochs: self.epochs.unwrap_or(base.epochs),
            batch: self.batch_size.unwrap_or(base.batch),
            accumulate: self.grad_accum_steps.unwrap_or(base.accumulate),
            learning_rate: self.lr.unwrap_or(base.learning_rate),
            learning_rate_batch: self
                .lr_batch_size
                .or(base.learning_rate_batch.filter(|_| self.lr.is_none())),
            optimizer,
            momentum: self.momentum.unwrap_or(base.momentum),
            nesterov: self.nesterov || self.opt.is_some_and(|opt| opt.nesterov) || base.nesterov,
            betas: self.betas.unwrap_or(base.betas),
            alpha: self.alpha.unwrap_or(base.alpha),
            centered: self.centered || base.centered,
            eps: self.eps.unwrap_or(base.eps),
            weight_decay: self.weight_decay.unwrap_or(base.weight_decay),
            norm_weight_decay: self.norm_weight_decay.or(base.norm_weight_decay),
            bias_weight_decay: self.bias_weight_decay.or(base.bias_weight_decay),
            position_weight_decay: self.transformer_embedding_decay.or(base.position_weight_decay),
            layer_decay: self.layer_decay.or(base.layer_decay),
            // A flag takes the place of the recipe's way to clip.
            clip_grad_norm: self
                .clip_grad_norm
                .or(base.clip_grad_norm.filter(|_| self.clip_grad_value.is_none()))
                .filter(|norm| *norm != 0.0),
            clip_grad_value: self
                .clip_grad_value
                .or(base.clip_grad_value.filter(|_| self.clip_grad_norm.is_none()))
                .filter(|value| *value != 0.0),
            loss: self.loss(base.loss)?,
            label_smoothing: self.label_smoothing.unwrap_or(base.label_smoothing),
            warmup_epochs: self.lr_warmup_epochs.unwrap_or(base.warmup_epochs),
            warmup_method: self.lr_warmup_method.unwrap_or(base.warmup_method),
            warmup_start: self.lr_warmup_decay.unwrap_or(warmup_start),
            ema: self.ema(base.ema)?,
            augmentation: self.augmentation.over(base.augmentation)?,
            learning_rate_per,
            schedule,
        };
        let (no_rmsprop, no_warmup) = ("without --opt rmsprop", "without --lr-warmup-epochs");
        let is_warm = recipe.warmup_epochs > 0;
        refuse_idle([
            ("--momentum", self.momentum.is_some() && is_adamw, "beside --opt adamw"),
            ("--nesterov", self.nesterov && !is_sgd, "without --opt sgd"),
            ("--betas", self.betas.is_some() && !is_adamw, "without --opt adamw"),
            ("--eps", self.eps.is_some() && is_sgd, "beside --opt sgd"),
            ("--alpha", self.alpha.is_some() && !optimizer.is_rmsprop(), no_rmsprop),
            ("--centered", self.centered && !optimizer.is_rmsprop(), no_rmsprop),
            ("--lr-warmup-decay", self.lr_warmup_decay.is_some() && !is_warm, no_warmup),
            ("--lr-warmup-method", self.lr_warmup_method.is_some() && !is_warm, no_warmup),
        ])?;
        recipe.check()?;
        Ok(recipe)
    }

    /// The loss.
    fn loss(&self, base: LossKind) -> Result<LossKind> {
        let with = |kind| match kind {
            LossKind::CrossEntropy {} => kind,
            LossKind::BinaryCrossEntropy { sum, target_threshold } => {
                LossKind::BinaryCrossEntropy {
                    sum: sum || self.bce_sum,
                    target_threshold: self.bce_target_thresh.or(target_threshold),
                }
            }
        };
        let kind = match (self.loss, base) {
            // The recipe's, with its numbers.
            (Some(LossKind::BinaryCrossEntropy { .. }), LossKind::BinaryCrossEntropy { .. }) => {
                base
            }
            (given, _) => given.unwrap_or(base),
        };
        let idle = kind == LossKind::default();
        refuse_idle([
            ("--bce-sum", self.bce_sum && idle, "without --loss bce"),
            ("--bce-target-thresh", self.bce_target_thresh.is_some() && idle, "without --loss bce"),
        ])?;
        Ok(with(kind))
    }

    /// The moving average.
    fn ema(&self, base: Option<Ema>) -> Result<Option<Ema>> {
        let (decay, steps) = (self.model_ema_decay, self.model_ema_steps);
        let on = base.or(self.model_ema.then_some(EMA));
        let (none, off) = (on.is_none(), self.no_model_ema);
        let without = if off { "beside --no-model-ema" } else { "without --model-ema" };
        refuse_idle([
            ("--model-ema", self.model_ema && off, without),
            ("--model-ema-decay", decay.is_some() && (none || off), without),
            ("--model-ema-steps", steps.is_some() && (none || off), without),
        ])?;
        let with =
            |ema: Ema| Ema { decay: decay.unwrap_or(ema.decay), steps: steps.unwrap_or(ema.steps) };
        Ok(on.map(with).filter(|_| !off))
    }

    /// The schedule: the numbers are the flags', else those of `base` where it is of the same kind, else torchvision's.
    fn schedule(&self, base: &Schedule) -> Result<Schedule> {
        let kind = self.lr_scheduler.unwrap_or(Scheduler::of(base));
        let gamma = self.lr_gamma;
        let schedule = match (kind, base) {
            (Scheduler::Constant, _) => Schedule::Constant {},
            (Scheduler::Step, Schedule::Step { every, gamma: old }) => Schedule::Step {
                every: self.lr_step_size.unwrap_or(*every),
                gamma: gamma.unwrap_or(*old),
            },
            (Scheduler::Step, _) => Schedule::Step {
                every: self.lr_step_size.unwrap_or(STEP_SIZE),
                gamma: gamma.unwrap_or(GAMMA),
            },
            (Scheduler::MultiStep, Schedule::MultiStep { milestones, gamma: old }) => {
                let given = self.lr_milestones.as_ref().map(|given| given.0.clone());
                Schedule::MultiStep {
                    milestones: given.unwrap_or_else(|| milestones.clone()),
                    gamma: gamma.unwrap_or(*old),
                }
            }
            (Scheduler::MultiStep, _) => Schedule::MultiStep {
                milestones: self.lr_milestones.as_ref().map(|given| given.0.clone()).ok_or_else(
                    || Error::usage("--lr-scheduler multisteplr needs --lr-milestones"),
                )?,
                gamma: gamma.unwrap_or(GAMMA),
            },
            (Scheduler::Exponential, Schedule::Exponential { gamma: old }) => {
                Schedule::Exponential { gamma: gamma.unwrap_or(*old) }
            }
            (Scheduler::Exponential, _) => Schedule::Exponential { gamma: gamma.unwrap_or(GAMMA) },
            (Scheduler::Cosine, Schedule::Cosine { minimum }) => {
                Schedule::Cosine { minimum: self.lr_min.unwrap_or(*minimum) }
            }
            (Scheduler::Cosine, _) => Schedule::Cosine { minimum: self.lr_min.unwrap_or(0.0) },
            (Scheduler::Polynomial, Schedule::Polynomial { power }) => {
                Schedule::Polynomial { power: self.lr_power.unwrap_or(*power) }
            }
            (Scheduler::Polynomial, _) => {
                Schedule::Polynomial { power: self.lr_power.unwrap_or(1.0) }
            }
        };
        let decreases = [Scheduler::Step, Scheduler::MultiStep, Scheduler::Exponential];
        refuse_idle([
            (
                "--lr-step-size",
                self.lr_step_size.is_some() && kind != Scheduler::Step,
                "without --lr-scheduler steplr",
            ),
            (
                "--lr-milestones",
                self.lr_milestones.is_some() && kind != Scheduler::MultiStep,
                "without --lr-scheduler multisteplr",
            ),
            (
                "--lr-gamma",
                gamma.is_some() && !decreases.contains(&kind),
                "without --lr-scheduler steplr, multisteplr or exponentiallr",
            ),
            (
                "--lr-min",
                self.lr_min.is_some() && kind != Scheduler::Cosine,
                "without --lr-scheduler cosineannealinglr",
            ),
            (
                "--lr-power",
                self.lr_power.is_some() && kind != Scheduler::Polynomial,
                "without --lr-scheduler polynomiallr",
            ),
        ])?;
        Ok(schedule)
    }

    /// Refuses weight decays of kinds of parameters that `model` doesn't have.
    pub fn check_model(&self, model: &Model) -> Result<()> {
        let has = |role| model.tape.params().iter().any(|param| param.spec.role == role);
        let lacks = |flag: Option<f32>, role| flag.is_some() && !has(role);
        let norms = "on this model: it has no normalisation layers with parameters";
        let tables = "on this model: it has no position tables";
        let of_tables = lacks(self.transformer_embedding_decay, Role::Position);
        refuse_idle([
            ("--norm-weight-decay", lacks(self.norm_weight_decay, Role::Norm), norms),
            ("--transformer-embedding-decay", of_tables, tables),
        ])
    }
}

/// The recipe in a file, or that of a model.
fn recipe_of(path: &Path) -> Result<Recipe> {
    let is_toml = path.extension().is_some_and(|extension| extension == "toml");
    if !is_toml {
        return ModelFile::open(&path.to_string_lossy())?.recipe().cloned();
    }
    Recipe::open(path)
}

/// A rule, and whether its momentum is Nesterov's.
#[derive(Clone, Copy, Debug)]
pub struct ChosenOptimizer {
    kind: OptimizerKind,
    nesterov: bool,
}

fn parse_optimizer(word: &str) -> std::result::Result<ChosenOptimizer, String> {
    let (word, nesterov) = match word {
        "sgd_nesterov" => ("sgd", true),
        word => (word, false),
    };
    match word.parse() {
        Ok(kind) => Ok(ChosenOptimizer { kind, nesterov }),
        Err(error) => Err(format!("{error}, sgd_nesterov")),
    }
}

/// The kinds of [`Schedule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    Constant,
    Step,
    MultiStep,
    Exponential,
    Cosine,
    Polynomial,
}

impl Scheduler {
    fn of(schedule: &Schedule) -> Scheduler {
        match schedule {
            Schedule::Constant {} => Scheduler::Constant,
            Schedule::Step { .. } => Scheduler::Step,
            Schedule::MultiStep { .. } => Scheduler::MultiStep,
            Schedule::Exponential { .. } => Scheduler::Exponential,
            Schedule::Cosine { .. } => Scheduler::Cosine,
            Schedule::Polynomial { .. } => Scheduler::Polynomial,
        }
    }
}

/// PyTorch's names, in small letters as torchvision takes them, and those of recipes.
fn parse_scheduler(word: &str) -> std::result::Result<Scheduler, String> {
    match word {
        "constant" => Ok(Scheduler::Constant),
        "steplr" | "step" => Ok(Scheduler::Step),
        "multisteplr" | "multistep" => Ok(Scheduler::MultiStep),
        "exponentiallr" | "exponential" => Ok(Scheduler::Exponential),
        "cosineannealinglr" | "cosine" => Ok(Scheduler::Cosine),
        "polynomiallr" | "polynomial" => Ok(Scheduler::Polynomial),
        _ => Err(
            "unknown schedule; known: constant, steplr, multisteplr, exponentiallr, cosineannealinglr, polynomiallr"
                .into(),
        ),
    }
}

/// Epochs, the earlier first.
#[derive(Clone, Debug)]
pub struct Milestones(Vec<usize>);

fn parse_milestones(text: &str) -> std::result::Result<Milestones, String> {
    let epochs: std::result::Result<Vec<usize>, _> = text.split(',').map(str::parse).collect();
    epochs.map(Milestones).map_err(|_| "expected epochs, as in 30,60,80".into())
}

fn parse_loss(word: &str) -> std::result::Result<LossKind, String> {
    match word {
        "cross-entropy" => Ok(LossKind::default()),
        "bce" => Ok(LossKind::BinaryCrossEntropy { sum: false, target_threshold: None }),
        _ => Err("unknown loss; known: cross-entropy, bce".into()),
    }
}

fn parse_betas(text: &str) -> std::result::Result<[f64; 2], String> {
    let numbers = text.split_once(',').map(|(first, second)| (first.parse(), second.parse()));
    match numbers {
        Some((Ok(first), Ok(second))) => Ok([first, second]),
        _ => Err("is two numbers: 0.9,0.999".into()),
    }
}
