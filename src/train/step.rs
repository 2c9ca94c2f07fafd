//! One step of training: forward and backward passes of its batches, then the update.

use super::snapshot::Position;
use super::{Trainer, check_labels};
use crate::data::Batch;
use crate::logits::argmax;
use crate::ops::RunState;
use crate::{Error, Result};

/// What a step came to, before its update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepFigures {
    /// Mean over the images.
    pub loss: f64,
    /// Images whose label has the largest logit; of mixed ones, the label of the larger part.
    pub right: usize,
    /// Of all gradients together, before clipping; `None` where the recipe doesn't clip.
    pub gradient_norm: Option<f64>,
}

/// A step of which some batches are done.
struct PartialStep {
    state: RunState,
    /// Images of the whole step, and of the batches that are done.
    images: usize,
    done: usize,
    /// Sum over the images that are done.
    loss: f64,
    right: usize,
}

impl Trainer {
    /// One step at the present position, of one batch: forward, backward, update.
    ///
    /// # Errors
    /// [`Error::Diverged`] when the loss isn't finite, or the gradient norm, which is known where the
    /// recipe clips; the weights are as before then, but for running statistics.
    pub fn step(&mut self, batch: &Batch) -> Result<StepFigures> {
        let mut step = self.begin_step(batch.len());
        self.add_batch(&mut step, batch)?;
        self.end_step(&step)
    }

    /// The same of the next batches of `batches`, which have `images` together. Each image's gradient has the same
    /// weight, so that but for statistics over a batch a step is that of one large batch.
    ///
    /// # Errors
    /// As [`Trainer::step`], and those of the data.
    pub(super) fn step_of(
        &mut self,
        batches: &mut dyn Iterator<Item = Result<Batch>>,
        images: usize,
    ) -> Result<StepFigures> {
        let mut step = self.begin_step(images);
        while step.done < images {
            let batch = batches.next().ok_or_else(|| {
                let missing = images - step.done;
                Error::usage(format!("the data ended {missing} images before a step's end"))
            })??;
            self.add_batch(&mut step, &batch)?;
        }
        self.end_step(&step)
    }

    fn begin_step(&self, images: usize) -> PartialStep {
        let Position { epoch, step, .. } = self.position;
        let steps = self.job.epoch_steps();
        let learning_rate = self.job.recipe.learning_rate_at(epoch, step, steps);
        let state = RunState {
            seed: self.job.seed,
            epoch: epoch as u64,
            ..self.optimizer.rule().state((epoch * steps + step) as u32, learning_rate)
        };
        PartialStep { state, images, done: 0, loss: 0.0, right: 0 }
    }

    /// Forward and backward of a batch, whose gradients are added to those of the step's earlier ones.
    fn add_batch(&mut self, step: &mut PartialStep, batch: &Batch) -> Result<()> {
        check_labels(&batch.labels, self.model.classes)?;
        let images = batch.len();
        self.execution.begin_training(step.state, &batch.indices)?;
        self.execution.write(self.model.image, &batch.images)?;
        match &batch.shares {
            Some(shares) => self.execution.write(self.model.labels, shares)?,
            None => self.execution.write(self.model.labels, &batch.labels)?,
        }
        self.execution.forward_training(&mut self.weights)?;
        let losses = self.execution.read(self.model.loss)?;
        let loss = losses.iter().map(|loss| f64::from(*loss)).sum::<f64>();
        self.require_finite("loss", loss / images as f64)?;
        let logits = self.execution.read(self.model.logits)?;
        let rows = logits.chunks_exact(self.model.classes).zip(&batch.labels);
        step.right += rows.filter(|(row, label)| argmax(row) == **label as usize).count();
        step.loss += loss;
        let gradient = vec![1.0 / step.images as f32; images];
        let (weights, of) = (&mut self.weights, self.model.loss);
        match step.done {
            0 => self.execution.backward(weights, of, &gradient, |_| ())?,
            _ => self.execution.backward_adding(weights, of, &gradient, |_| ())?,
        }
        step.done += images;
        Ok(())
    }

    /// Clipping, update and moving average.
    fn end_step(&mut self, step: &PartialStep) -> Result<StepFigures> {
        self.execution.update(&mut self.weights, &mut self.optimizer)?;
        let gradient_norm = self.optimizer.gradient_norm()?;
        gradient_norm.map_or(Ok(()), |norm| self.require_finite("gradient norm", norm))?;
        let Position { epoch, step: number, .. } = self.position;
        if let Some(average) = &mut self.average {
            average.after_step(epoch, number, &self.weights)?;
        }
        let loss = step.loss / step.images as f64;
        Ok(StepFigures { loss, right: step.right, gradient_norm })
    }

    fn require_finite(&self, figure: &'static str, value: f64) -> Result<()> {
        let Position { epoch, step, .. } = self.position;
        match value.is_finite() {
            true => Ok(()),
            false => Err(Error::Diverged { epoch: epoch + 1, step: step + 1, figure, value }),
        }
    }
}
