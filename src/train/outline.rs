//! What a training run will do, in words, before it begins.

use serde_json::Value;

use super::Job;
use super::job::{WORLD_SIZE, differences};
use crate::models::Model;
use crate::recipe::{
    AugmentPolicy, Augmentation, LossKind, OptimizerKind, RatePer, Recipe, Schedule, WarmupMethod,
};

/// A network that saw fewer batches has hardly begun to learn.
const FEW_STEPS: usize = 150;

/// A hint where training takes few steps in all: how many epochs would make enough of them.
pub fn hint_of_few_steps(steps_an_epoch: usize, epochs: usize) -> Option<String> {
    let all = steps_an_epoch * epochs;
    (all < FEW_STEPS).then(|| {
        let enough = FEW_STEPS.div_ceil(steps_an_epoch.max(1));
        format!(
            "hint: few steps to learn from, {all} in all; --epochs {enough} makes {}",
            enough * steps_an_epoch
        )
    })
}

impl Job {
    /// A few lines on what is trained on what, in how many steps and by which recipe; `start` says what the weights
    /// start from, `base` whose recipe it is but for what was changed of it.
    pub fn outline(
        &self,
        model: &Model,
        start: &str,
        (base, whose): (&Recipe, &str),
    ) -> Vec<String> {
        let (size, parameters) = (self.image_size(), model.tape.parameter_count());
        let (images, classes) = (self.train.dataset.len(), self.classes());
        let validation = match &self.validation {
            Some(source) => format!("{} validation images", source.dataset.len()),
            None => "no validation images".into(),
        };
        let mut lines = vec![
            format!(
                "model: {}, {}, {size}×{size} pixels, {parameters} parameters{}",
                self.file.name,
                self.head,
                frozen_words(model)
            ),
            format!("weights: {start}"),
            format!("data: {classes} classes, {images} training images, {validation}"),
            self.steps(),
            self.rate(),
            format!("recipe: {}", recipe_words(&self.recipe)),
        ];
        if !self.faults.is_empty() {
            let faults: Vec<String> = self.faults.iter().map(ToString::to_string).collect();
            lines.push(format!("faults while training: {}", faults.join("; ")));
        }
        let changed = changes(base, &self.recipe);
        lines.push(match changed.is_empty() {
            true => format!("the recipe is that of {whose}"),
            false => format!("the recipe is that of {whose}, but for: {}", changed.join(", ")),
        });
        lines.extend(hint_of_few_steps(self.epoch_steps(), self.recipe.epochs));
        if base.optimizer != self.recipe.optimizer
            && base.learning_rate == self.recipe.learning_rate
        {
            lines.push(format!(
                "hint: the learning rate {} is that of another optimizer; see --lr",
                base.learning_rate
            ));
        }
        let Recipe { warmup_epochs, epochs, .. } = self.recipe;
        if warmup_epochs > epochs {
            lines.push(format!(
                "hint: the warm-up of {warmup_epochs} {} is longer than the run, whose learning rate stays low; see \
                 --lr-warmup-epochs",
                plural(warmup_epochs, "epoch")
            ));
        }
        lines
    }

    fn steps(&self) -> String {
        let (epochs, steps, batch) = (self.recipe.epochs, self.epoch_steps(), self.batch());
        let mut line = format!(
            "steps: {epochs} {} of {steps} {}, up to {} images each",
            plural(epochs, "epoch"),
            plural(steps, "step"),
            match self.accumulate() {
                1 => batch.to_string(),
                batches => format!("{batches} batches of {batch}"),
            }
        );
        if batch < self.recipe.batch {
            let asked = self.recipe.batch;
            line.push_str(&format!(
                "; a batch of {asked} was asked for, but there are no more training images"
            ));
        }
        if self.epoch_images() < self.train.dataset.len() {
            line.push_str("; an image is left over each epoch, since no batch is of one");
        }
        line
    }
}

impl Job {
    /// How many images a step has, on how many devices, and what that makes of the learning rate.
    pub fn rate(&self) -> String {
        let Recipe { batch, accumulate, learning_rate, learning_rate_batch, .. } = self.recipe;
        let images = self.step_images();
        let mut line = format!("effective batch: {images} images a step, {WORLD_SIZE} device");
        if accumulate > 1 {
            line.push_str(&format!(", {accumulate} batches of up to {batch}"));
        }
        let factor = self.recipe.rate_factor(images);
        line.push_str(&format!("; learning rate {:.4e}", learning_rate * factor));
        if let Some(meant) = learning_rate_batch.filter(|meant| *meant != images) {
            let minimum = match self.recipe.schedule {
                Schedule::Cosine { minimum } if minimum > 0.0 => {
                    format!(", and its minimum {:.4e}", minimum * factor)
                }
                _ => String::new(),
            };
            line.push_str(&format!(", scaled from {learning_rate} for {meant} images{minimum}"));
        }
        line
    }
}

/// How many of a model's parameters are trained, where not all are.
fn frozen_words(model: &Model) -> String {
    let params = model.tape.params();
    let count = |frozen: bool| -> usize {
        let of_these = params.iter().filter(|p| p.spec.role.is_trained() && p.frozen == frozen);
        of_these.map(|param| param.spec.elements()).sum()
    };
    match count(true) {
        0 => String::new(),
        frozen => format!(", {} of them trained and {frozen} frozen", count(false)),
    }
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { noun.into() } else { format!("{noun}s") }
}

/// In what a recipe isn't that of the model file.
fn changes(file: &Recipe, recipe: &Recipe) -> Vec<String> {
    // Through text, where 0.9 stays 0.9.
    let json = |recipe: &Recipe| {
        let value = |text: String| serde_json::from_str(&text).unwrap_or(Value::Null);
        let mut whole = value(serde_json::to_string(recipe).unwrap_or_default());
        // A recipe that says nothing of it doesn't write it.
        let augmentation = serde_json::to_string(&recipe.augmentation).unwrap_or_default();
        whole["augmentation"] = value(augmentation);
        whole
    };
    differences(&json(file), &json(recipe))
}

/// All that holds of a recipe but epochs and batch.
pub fn recipe_words(recipe: &Recipe) -> String {
    let mut words = vec![match recipe.optimizer {
        OptimizerKind::Sgd if recipe.nesterov => {
            format!("sgd with Nesterov's momentum {}", recipe.momentum)
        }
        OptimizerKind::Sgd if recipe.momentum > 0.0 => {
            format!("sgd with momentum {}", recipe.momentum)
        }
        OptimizerKind::Sgd => "sgd".into(),
        OptimizerKind::AdamW => {
            let [first, second] = recipe.betas;
            format!("adamw with betas {first} and {second}, eps {:e}", recipe.eps)
        }
        OptimizerKind::RmsProp | OptimizerKind::RmsPropTf => rmsprop_words(recipe),
    }];
    words.push(format!("learning rate {}", recipe.learning_rate));
    if let Some(images) = recipe.learning_rate_batch {
        words.push(format!("which is meant for {images} images a step"));
    }
    if recipe.warmup_epochs > 0 {
        let epochs = recipe.warmup_epochs;
        let method = match recipe.warmup_method {
            WarmupMethod::Linear => "",
            WarmupMethod::Constant => " at a constant rate",
        };
        words.push(format!("{epochs} {} of warm-up{method}", plural(epochs, "epoch")));
    }
    words.push(schedule_words(&recipe.schedule));
    if recipe.learning_rate_per == RatePer::Epoch {
        words.push("changed once an epoch".into());
    }
    let decays = [
        ("weight decay", Some(recipe.weight_decay).filter(|decay| *decay > 0.0)),
        ("of norms", recipe.norm_weight_decay),
        ("of biases", recipe.bias_weight_decay),
        ("of position tables", recipe.position_weight_decay),
    ];
    let decays: Vec<String> =
        decays.iter().filter_map(|(of, decay)| Some(format!("{of} {}", (*decay)?))).collect();
    match decays.first() {
        Some(first) if first.starts_with("of ") => {
            words.push(format!("weight decay {}", decays.join(" and ")));
        }
        Some(_) => words.push(decays.join(" and ")),
        None => {}
    }
    if let Some(decay) = recipe.layer_decay {
        words.push(format!("each layer at {decay} of the next one's rate"));
    }
    if let Some(norm) = recipe.clip_grad_norm {
        words.push(format!("gradients clipped at a norm of {norm}"));
    }
    if let Some(value) = recipe.clip_grad_value {
        words.push(format!("gradients clipped at {value}"));
    }
    if let LossKind::BinaryCrossEntropy { sum, target_threshold } = recipe.loss {
        let of = if sum { "summed" } else { "averaged" };
        let above = target_threshold
            .map_or_else(String::new, |t| format!(", targets above {t} taken for 1"));
        words.push(format!("binary cross-entropy {of} over the classes{above}"));
    }
    if recipe.label_smoothing > 0.0 {
        words.push(format!("label smoothing {}", recipe.label_smoothing));
    }
    words.extend(augmentation_words(&recipe.augmentation));
    if let Some(ema) = recipe.ema {
        let every =
            if ema.steps == 1 { "each step".into() } else { format!("every {} steps", ema.steps) };
        let kept = 1.0 - recipe.ema_share(ema);
        words.push(format!(
            "a moving average of the weights, decay {}, {every}, which keeps {kept:.4} in each update",
            ema.decay
        ));
    }
    words.join(", ")
}

fn rmsprop_words(recipe: &Recipe) -> String {
    let name: &str = recipe.optimizer.into();
    let centered = if recipe.centered { "centered " } else { "" };
    let mut words = format!("{centered}{name} with alpha {}, eps {:e}", recipe.alpha, recipe.eps);
    if recipe.momentum > 0.0 {
        words.push_str(&format!(", momentum {}", recipe.momentum));
    }
    words
}

fn schedule_words(schedule: &Schedule) -> String {
    match schedule {
        Schedule::Constant {} => "constant".into(),
        Schedule::Cosine { minimum } => format!("then a cosine to {minimum}"),
        Schedule::Step { every: 1, gamma } | Schedule::Exponential { gamma } => {
            format!("times {gamma} each epoch")
        }
        Schedule::Step { every, gamma } => format!("times {gamma} every {every} epochs"),
        Schedule::MultiStep { milestones, gamma } => {
            let epochs: Vec<String> = milestones.iter().map(usize::to_string).collect();
            format!("times {gamma} after epochs {}", epochs.join(", "))
        }
        Schedule::Polynomial { power } => {
            format!("then the share of epochs left to the power {power}")
        }
    }
}

/// What a recipe does to training images beyond what every one does.
fn augmentation_words(augmentation: &Augmentation) -> Vec<String> {
    let Augmentation {
        crop_scale,
        crop_padding,
        flip,
        jitter,
        policy,
        erasing,
        mixing,
        repetitions,
    } = *augmentation;
    let mut words = Vec::new();
    if let Some([least, most]) = crop_scale {
        words.push(format!("crops of {least} to {most} of an image"));
    }
    if let Some(padding) = crop_padding {
        words.push(format!("random crops with {padding} pixels of padding"));
    }
    if flip != Augmentation::default().flip {
        words.push(format!("mirrored with probability {flip}"));
    }
    if let Some(jitter) = jitter {
        words.push(format!(
            "jittered colours {}",
            serde_json::to_string(&jitter).unwrap_or_default()
        ));
    }
    if let Some(policy) = policy {
        let plain = policy.to_string().parse::<AugmentPolicy>().ok();
        let own = match plain == Some(policy) {
            true => String::new(),
            false => format!(" {}", serde_json::to_string(&policy).unwrap_or_default()),
        };
        words.push(format!("automatic augmentation {policy}{own}"));
    }
    if let Some(erasing) = erasing {
        words.push(format!("erased with probability {}", erasing.probability));
    }
    let alphas = [("mixup", mixing.mixup_alpha), ("CutMix", mixing.cutmix_alpha)];
    for (name, alpha) in alphas.into_iter().filter(|(_, alpha)| *alpha > 0.0) {
        words.push(format!("{name} with alpha {alpha}"));
    }
    if repetitions > 1 {
        words.push(format!("each image {repetitions} times in a batch"));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Ema;

    #[test]
    fn a_recipe_is_told_whole() {
        let plain = Recipe::new(3, 8, 0.1, Schedule::Step { every: 2, gamma: 0.5 });
        assert_eq!(recipe_words(&plain), "sgd, learning rate 0.1, times 0.5 every 2 epochs");
        let full = Recipe {
            optimizer: OptimizerKind::AdamW,
            weight_decay: 0.05,
            norm_weight_decay: Some(0.0),
            clip_grad_norm: Some(5.0),
            label_smoothing: 0.1,
            warmup_epochs: 1,
            ema: Some(Ema { decay: 0.99, steps: 1 }),
            schedule: Schedule::Cosine { minimum: 0.0 },
            ..plain.clone()
        };
        assert_eq!(
            recipe_words(&full),
            "adamw with betas 0.9 and 0.999, eps 1e-8, learning rate 0.1, 1 epoch of warm-up, then a cosine to 0, \
             weight decay 0.05 and of norms 0, gradients clipped at a norm of 5, label smoothing 0.1, a moving average of \
             the weights, decay 0.99, each step, which keeps 0.9733 in each update"
        );
        let of_norms = Recipe { norm_weight_decay: Some(0.5), ..plain.clone() };
        assert!(
            recipe_words(&of_norms).ends_with("weight decay of norms 0.5"),
            "{}",
            recipe_words(&of_norms)
        );
        assert_eq!(changes(&plain, &plain), Vec::<String>::new());
        let flip = Augmentation { flip: 0.25, ..Augmentation::default() };
        let mirrored = Recipe { augmentation: flip, ..plain.clone() };
        assert_eq!(changes(&plain, &mirrored), ["augmentation.flip was 0.5 and is 0.25"]);
        assert!(recipe_words(&mirrored).ends_with("mirrored with probability 0.25"));
        let changed = Recipe { epochs: 4, momentum: 0.5, ..plain.clone() };
        let said = changes(&plain, &changed);
        assert_eq!(said, ["epochs was 3 and is 4", "momentum was 0.0 and is 0.5"]);
    }

    #[test]
    fn few_steps_are_hinted_at() {
        assert_eq!(hint_of_few_steps(50, 3), None);
        let hint = hint_of_few_steps(1, 10).unwrap();
        assert!(
            hint.contains("few steps to learn from, 10 in all")
                && hint.contains("--epochs 150 makes 150"),
            "{hint}"
        );
    }
}
