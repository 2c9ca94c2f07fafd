//! Fault-free answers: what faulty ones are compared with.

use serde::{Deserialize, Serialize};

use super::images::{Images, load_batch};
use super::outcome::hash_logits;
use crate::models::Model;
use crate::ops::cross_entropy;
use crate::tape::{Execution, PlanKind, Weights};
use crate::train::ranking::argmax;
use crate::{Error, Result};

/// What logits say of an image, computed in f64. Numbers are NaN where a logit isn't finite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The class of the greatest logit; the lowest index wins ties.
    pub top1: usize,
    /// Cross entropy against the label, in nats.
    pub loss: f64,
    /// Probability of the label.
    pub p_label: f64,
    /// 100·(p₁ − p₂), the two greatest probabilities, in percentage points.
    pub top2diff: f64,
}

impl Judged {
    /// Judges the logits of an image of class `label`.
    pub fn of(logits: &[f32], label: u32) -> Judged {
        let top1 = argmax(logits);
        if logits.iter().any(|z| !z.is_finite()) {
            return Judged { top1, loss: f64::NAN, p_label: f64::NAN, top2diff: f64::NAN };
        }
        let p = cross_entropy::probabilities(logits);
        let second = p.iter().enumerate().filter(|(k, _)| *k != top1).map(|(_, p)| *p);
        Judged {
            top1,
            loss: cross_entropy::loss(logits, label as usize),
            p_label: p[label as usize],
            top2diff: 100.0 * (p[top1] - second.fold(0.0, f64::max)),
        }
    }
}

/// The fault-free answer to one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Golden {
    /// Index of the image among the evaluation images.
    pub image: usize,
    pub label: u32,
    pub judged: Judged,
    pub logits: Vec<f32>,
    /// [`hash_logits`] of the logits.
    pub hash: u64,
    pub is_finite: bool,
}

impl Golden {
    /// The answer `logits` to image number `image`, whose class is `label`.
    pub fn new(image: usize, label: u32, logits: Vec<f32>) -> Golden {
        Golden {
            image,
            label,
            judged: Judged::of(&logits, label),
            hash: hash_logits(&logits),
            is_finite: logits.iter().all(|z| z.is_finite()),
            logits,
        }
    }

    /// Whether the top-1 is the label.
    pub fn is_right(&self) -> bool {
        self.judged.top1 == self.label as usize
    }

    /// Whether the published protocol would use the image: the answer is right, and by a margin.
    pub fn is_eligible(&self) -> bool {
        self.is_right() && self.judged.top2diff > 0.0
    }
}

/// Mean Top2Diff over answers, in percentage points; answers that aren't finite are left out, and without any
/// other there is none.
pub fn mean_top2diff(goldens: &[Golden]) -> Option<f64> {
    let values: Vec<f64> =
        goldens.iter().map(|golden| golden.judged.top2diff).filter(|v| v.is_finite()).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Runs the images of `list` fault-free on the weights' device, `batch` at a time.
///
/// # Errors
/// What loading or running says; a label that isn't a class of the model.
pub fn evaluate(
    model: &Model,
    weights: &Weights,
    images: &dyn Images,
    list: &[usize],
    batch: usize,
) -> Result<Vec<Golden>> {
    answers((model, weights), images, list, batch, |image, label, logits| {
        if label as usize >= model.classes {
            return Err(Error::usage(format!(
                "image {image} has label {label}, but the model has {} classes",
                model.classes
            )));
        }
        Ok(Golden::new(image, label, logits))
    })
}

/// As [`evaluate`], with each answer held against itself: its top-1 is the label, whatever the image's is.
///
/// # Errors
/// What loading or running says.
pub fn evaluate_unlabeled(
    model: &Model,
    weights: &Weights,
    images: &dyn Images,
    list: &[usize],
    batch: usize,
) -> Result<Vec<Golden>> {
    answers((model, weights), images, list, batch, |image, _, logits| {
        Ok(Golden::new(image, argmax(&logits) as u32, logits))
    })
}

/// What `of` makes of number, label and logits of each image.
fn answers(
    (model, weights): (&Model, &Weights),
    images: &dyn Images,
    list: &[usize],
    batch: usize,
    of: impl Fn(usize, u32, Vec<f32>) -> Result<Golden>,
) -> Result<Vec<Golden>> {
    let (device, outputs) = (weights.device(), [model.logits]);
    let capacity = batch.clamp(1, list.len().max(1));
    let mut execution = Execution::new(&model.tape, device, PlanKind::Infer, capacity, &outputs)?;
    execution.use_graphs(true);
    let mut goldens = Vec::with_capacity(list.len());
    for part in list.chunks(capacity) {
        let (pixels, labels) = load_batch(model, images, part)?;
        execution.begin(part.len())?;
        execution.write(model.image, &pixels)?;
        execution.forward(weights)?;
        let logits = execution.read(model.logits)?;
        for ((image, label), logits) in part.iter().zip(labels).zip(logits.chunks(model.classes)) {
            goldens.push(of(*image, label, logits.to_vec())?);
        }
    }
    Ok(goldens)
}
