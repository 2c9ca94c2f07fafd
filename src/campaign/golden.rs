//! Runs images fault-free.

use super::images::{Images, load_batch};
use crate::logits::argmax;
use crate::models::Model;
use crate::results::Golden;
use crate::tape::{Execution, PlanKind, Weights};
use crate::{Error, Result};

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
