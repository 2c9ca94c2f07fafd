//! What a training run is, and how two of them are told apart.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::output::Output;
use crate::data::transform::Transform;
use crate::data::{ClassList, Dataset};
use crate::fault::TrainingFault;
use crate::models::ModelFile;
use crate::nn::Head;
use crate::number::Compute;
use crate::recipe::Recipe;
use crate::{Error, Result};

/// Images and what is done to them on their way into a network.
#[derive(Clone)]
pub struct Source {
    pub dataset: Arc<dyn Dataset>,
    pub transform: Transform,
}

/// A training run, as values: everything that decides a bit of its result, but for the device and how it
/// multiplies.
#[derive(Clone)]
pub struct Job {
    pub file: ModelFile,
    pub head: Head,
    pub recipe: Recipe,
    pub seed: u64,
    /// What the weights start from, in words that are compared on resuming: `random`, or a hash of
    /// text features or of a checkpoint.
    pub start: String,
    pub train: Source,
    /// Evaluated after each epoch.
    pub validation: Option<Source>,
    /// Threads that decode and augment.
    pub workers: usize,
    pub output: Option<Output>,
    /// Parameters that stay as they are, by patterns over names of the state dict, in which `*` stands for any
    /// characters; names may be given with or without `backbone.`, and in a baseline `backbone.*` is all but the last
    /// layer. A batch norm of whose parameters none is trained uses its running statistics and leaves them as they are.
    pub freeze: Vec<String>,
    /// Bits that flip while it is trained.
    pub faults: Vec<TrainingFault>,
}

/// Devices that train together.
pub(super) const WORLD_SIZE: usize = 1;

/// What a snapshot records of a [`Job`].
#[derive(Serialize)]
struct Identity<'a> {
    model: &'a str,
    architecture: Value,
    head: String,
    classes: usize,
    /// SHA-256 of ids and names.
    class_names: String,
    image_size: usize,
    recipe: &'a Recipe,
    seed: u64,
    start: &'a str,
    data: String,
    /// Images that were left out, since they can't be read: of training, and of validation.
    #[serde(skip_serializing_if = "is_nothing")]
    skipped: [Vec<String>; 2],
    transform: Value,
    compute: Compute,
    /// What decides which epoch is the best. Of runs that older versions began it isn't known.
    validation: Option<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    freeze: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<String>,
}

impl Job {
    /// Height and width of the images.
    pub fn image_size(&self) -> usize {
        self.train.transform.size()
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.train.dataset.classes().len()
    }

    /// Ids and names of the classes, in the order of the last layer's rows.
    pub fn class_names(&self) -> Vec<(String, String)> {
        let classes = self.train.dataset.classes().iter();
        classes.map(|class| (class.id.clone(), class.name.clone())).collect()
    }

    /// The most images of a batch: what goes through the network at once.
    pub fn batch(&self) -> usize {
        self.recipe.batch.min(self.train.dataset.len())
    }

    /// Images of an epoch: all, but for a last batch of one, of which batch norm could take no
    /// statistics.
    pub fn epoch_images(&self) -> usize {
        let all = self.train.dataset.len();
        if self.batch() > 1 && all % self.batch() == 1 { all - 1 } else { all }
    }

    /// Batches whose gradients are added up before a step.
    pub fn accumulate(&self) -> usize {
        self.recipe.accumulate
    }

    /// Steps of an epoch. The last one has the images that are left.
    pub fn epoch_steps(&self) -> usize {
        self.epoch_images().div_ceil(self.step_images().max(1))
    }

    /// Images of an epoch that come before a step of it, from 0.
    pub(super) fn images_before(&self, step: usize) -> usize {
        step.saturating_mul(self.step_images()).min(self.epoch_images())
    }

    /// The most images of a step, in all of its batches.
    pub fn step_images(&self) -> usize {
        self.batch().saturating_mul(self.accumulate()).min(self.train.dataset.len())
    }

    /// The learning rate of step `step` in epoch `epoch`, both from 0.
    pub fn learning_rate_at(&self, epoch: usize, step: usize) -> f32 {
        let rate = self.recipe.learning_rate_at(epoch, step, self.epoch_steps());
        (rate * self.recipe.rate_factor(self.step_images())) as f32
    }

    /// Refuses what can't be trained.
    ///
    /// # Errors
    /// [`Error::Usage`] that says what is wrong.
    pub fn check(&self) -> Result<()> {
        self.recipe.check()?;
        self.train.transform.validate()?;
        ClassList::from_pairs(self.class_names())
            .map_err(|detail| Error::usage(format!("the list of the data's classes {detail}")))?;
        let images = self.train.dataset.len();
        if images < 2 {
            return Err(Error::usage(format!("training needs at least 2 images, found {images}")));
        }
        if self.recipe.batch < 2 {
            return Err(Error::usage("training needs batches of at least 2 images"));
        }
        let epochs = self.recipe.epochs;
        let beyond = |fault: &&TrainingFault| fault.epochs.is_some_and(|[_, last]| last > epochs);
        if let Some(fault) = self.faults.iter().find(beyond) {
            return Err(Error::usage(format!(
                "faults while training '{fault}': the run has {epochs} epochs"
            )));
        }
        if let Some(validation) = &self.validation {
            let (found, expected) = (validation.transform.size(), self.image_size());
            if found != expected {
                let detail =
                    format!("validation images are {found} pixels wide, training's {expected}");
                return Err(Error::usage(detail));
            }
            let (found, expected) = (validation.dataset.classes().len(), self.classes());
            if found != expected {
                let detail = format!("validation has {found} classes, training {expected}");
                return Err(Error::usage(detail));
            }
        }
        Ok(())
    }

    /// SHA-256, in hex, of the classes' ids and names in the order of the last layer's rows.
    fn class_hash(&self) -> String {
        let mut hasher = Sha256::new();
        for (id, name) in self.class_names() {
            hasher.update(format!("{id}\t{name}\n"));
        }
        crate::hex(&hasher.finalize())
    }

    /// What identifies this run, as JSON.
    pub(super) fn identity(&self, compute: Compute) -> Result<Value> {
        let bad = |source: serde_json::Error| Error::usage(format!("training run: {source}"));
        let file = serde_json::to_value(&self.file).map_err(bad)?;
        let transform = match &self.train.transform {
            Transform::Train(train) => serde_json::to_value(train),
            Transform::Eval(eval) => serde_json::to_value(eval),
        };
        let validation = self.validation.as_ref().map(|Source { dataset, transform }| {
            let transform = match transform {
                Transform::Eval(eval) => eval.to_string(),
                random => format!("{random:?}"),
            };
            format!("{}, {transform}", dataset.fingerprint())
        });
        let identity = Identity {
            model: &self.file.name,
            architecture: file.get("architecture").cloned().unwrap_or_default(),
            head: self.head.to_string(),
            classes: self.classes(),
            class_names: self.class_hash(),
            image_size: self.image_size(),
            recipe: &self.recipe,
            seed: self.seed,
            start: &self.start,
            data: self.train.dataset.fingerprint(),
            skipped: [Some(&self.train), self.validation.as_ref()]
                .map(|source| source.map_or_else(Vec::new, |source| source.dataset.skipped())),
            transform: transform.map_err(bad)?,
            compute,
            validation,
            freeze: &self.freeze,
            faults: self.faults.iter().map(TrainingFault::to_string).collect(),
        };
        serde_json::to_value(identity).map_err(bad)
    }
}

fn is_nothing(skipped: &[Vec<String>; 2]) -> bool {
    skipped.iter().all(Vec::is_empty)
}

/// What differs between the identities of two runs: `recipe.epochs was 90 and is 10`.
pub(super) fn differences(was: &Value, is: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", was, is, &mut found);
    found
}

fn compare(place: &str, was: &Value, is: &Value, found: &mut Vec<String>) {
    if let (Value::Object(a), Value::Object(b)) = (was, is) {
        let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let inner = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
            let at = |map: &serde_json::Map<String, Value>| map.get(key).cloned();
            compare(&inner, &at(a).unwrap_or_default(), &at(b).unwrap_or_default(), found);
        }
    } else if was != is {
        found.push(format!("{place} was {was} and is {is}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_name_their_place() {
        let was = json!({"recipe": {"epochs": 90, "batch": 8}, "seed": 1});
        let is = json!({"recipe": {"epochs": 10, "batch": 8, "nesterov": true}, "seed": 1});
        let expected = ["recipe.epochs was 90 and is 10", "recipe.nesterov was null and is true"];
        assert_eq!(differences(&was, &is), expected);
        assert!(differences(&was, &was).is_empty());
    }
}
