//! Weights that a training run starts from: another checkpoint's, but for what of its head doesn't fit.

use std::collections::HashSet;
use std::path::Path;

use super::dialect::Keys;
use super::state::{Problems, set};
use super::{Facts, Model, ModelFile, detect_head, open_checkpoint};
use crate::checkpoint::Checkpoint;
use crate::nn::{HEAD_ROWS, Head, LOGIT_SCALE};
use crate::ops::Role;
use crate::tape::{Param, ParamId, Weights};
use crate::{Error, Result};

/// A checkpoint that training starts from.
pub struct Pretrained {
    checkpoint: Checkpoint,
    file: ModelFile,
    head: Head,
    classes: usize,
    facts: Facts,
    /// What stands before the names of the backbone's last layer, which belongs to the head: `fc.`
    last_layer: String,
}

/// What of a checkpoint was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// How many of the model's tensors.
    pub tensors: usize,
    /// The file's tensors that weren't taken.
    pub left_out: Vec<String>,
    /// Why they weren't, as the end of a sentence.
    pub why: String,
}

impl Pretrained {
    /// Opens a checkpoint for the model of `file`, in whichever head.
    ///
    /// # Errors
    /// Those of reading; a file that says that it is of another architecture, or holds neither head.
    pub fn open(path: &Path, file: &ModelFile) -> Result<Pretrained> {
        let facts = Facts::open(path)?;
        if let Some(own) = facts.architecture.as_ref().filter(|own| **own != file.architecture()) {
            let (name, is) = (&file.name, file.architecture());
            let detail = format!("its architecture is {own}, but {name} is {is}");
            return Err(Error::file(path, detail));
        }
        let checkpoint = open_checkpoint(path, file, None)?;
        let (head, classes) = detect_head(&checkpoint, file)?;
        facts.check(path, head, classes)?;
        let probe = Model::new(file, Head::Baseline, 1, file.input.size, 0.0)?;
        let last_layer = format!("{}.", probe.tape.node(probe.last_layer).name);
        Ok(Pretrained { checkpoint, file: file.clone(), head, classes, facts, last_layer })
    }

    /// What is worth telling of the file itself: which weights are read where it holds several sets, and that it was made
    /// for another preprocessing.
    pub fn notes(&self) -> Vec<String> {
        let own = self.facts.input.as_ref().filter(|own| **own != self.file.input);
        let other = own.map(|_| {
            format!(
                "{}: made with another preprocessing than {} has, whose [input] is taken",
                self.checkpoint.path().display(),
                self.file.name
            )
        });
        self.checkpoint.note().into_iter().chain(other).collect()
    }

    /// Gives `weights` of `model` the file's values; the model's classes have the ids `classes`. Of the head is taken what
    /// is of the same kind and width, and for the same classes as far as the file names its own; all else must fit.
    ///
    /// # Errors
    /// As [`load_state`](super::load_state), for everything but the head; the weights are untouched then.
    pub fn start(&self, model: &Model, weights: &mut Weights, classes: &[&str]) -> Result<Taken> {
        let checkpoint = &self.checkpoint;
        let keys = Keys::of(checkpoint, model.dialect);
        let (skipped, why) = self.skipped(model.head, classes);
        let taken: Vec<(ParamId, &Param)> = (0..)
            .map(ParamId)
            .zip(model.tape.params())
            .filter(|(_, param)| {
                skipped.is_none_or(|last| self.part(model.head, &param.name) > last)
            })
            .collect();
        let params = || taken.iter().map(|(_, param)| *param);
        let find = |name: &str| keys.find(&self.in_file(model.head, name));
        let counts_batches =
            params().any(|param| param.spec.role == Role::Counter && find(&param.name).is_some());
        let fits = |expected: &[usize], found: &[usize]| keys.fits(expected, found);
        let mut problems = Problems::default();
        let sources = problems.sources(params(), checkpoint, counts_batches, find, fits)?;
        let known: HashSet<String> =
            params().map(|param| self.in_file(model.head, &param.name)).collect();
        let is_of_head = |key: &str| self.part(self.head, key) != TensorPart::Backbone;
        problems.find_unexpected(checkpoint, &keys, |key| known.contains(key) || is_of_head(key));
        problems.check(checkpoint, model)?;
        let is_left = |key: &str| is_of_head(key) && !known.contains(key);
        let left = keys.iter().filter(|(key, _)| is_left(key)).map(|(_, theirs)| theirs.into());
        let mut left_out: Vec<String> = left.collect();
        left_out.sort();
        let tensors = taken.len();
        let ids: Vec<ParamId> = taken.iter().map(|(id, _)| *id).collect();
        for (id, source) in ids.into_iter().zip(sources) {
            set(weights, id, checkpoint, source)?;
        }
        Ok(Taken { tensors, left_out, why })
    }

    /// The last part that isn't taken by a model of `head`, and why.
    fn skipped(&self, head: Head, classes: &[&str]) -> (Option<TensorPart>, String) {
        if self.head != head {
            return (Some(TensorPart::Head), format!("its head is {}, not {head}", self.head));
        }
        let named = self.facts.class_names.as_ref();
        let are_others = named.is_some_and(|named| named.iter().map(|(id, _)| id).ne(classes));
        if self.classes == classes.len() && !are_others {
            return (None, String::new());
        }
        let why = match self.classes == classes.len() {
            true => "its classes are others".into(),
            false => format!("it has {} classes, not {}", self.classes, classes.len()),
        };
        match head {
            Head::Baseline => (Some(TensorPart::Head), why),
            Head::TextGuided { .. } => (Some(TensorPart::Rows), why),
        }
    }

    /// Which part of a network of `head` a tensor belongs to.
    fn part(&self, head: Head, name: &str) -> TensorPart {
        let is_guided = head != Head::Baseline;
        let bare = name.strip_prefix(head.backbone_prefix()).unwrap_or(name);
        match name {
            HEAD_ROWS if is_guided => TensorPart::Rows,
            LOGIT_SCALE if is_guided => TensorPart::Head,
            _ if bare.starts_with(&self.last_layer) => TensorPart::Head,
            _ => TensorPart::Backbone,
        }
    }

    /// What a tensor of a model of `head` is called in the file.
    fn in_file(&self, head: Head, name: &str) -> String {
        match name.strip_prefix(head.backbone_prefix()) {
            Some(bare) => format!("{}{bare}", self.head.backbone_prefix()),
            // Those of the text-guided head itself.
            None => name.into(),
        }
    }
}

/// What a tensor belongs to; where a part isn't taken, neither are those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum TensorPart {
    /// A row for each class.
    Rows,
    /// The backbone's last layer, and the scale of logits.
    Head,
    Backbone,
}
