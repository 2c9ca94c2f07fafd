//! One step of training: forward and backward passes of its batches, then the update.

use super::faults::{BatchPlace, FlipCounts};
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
    /// Of all gradients together, before clipping; `None` where the recipe doesn't clip and there are no faults.
    pub gradient_norm: Option<f64>,
    /// Bits that flipped.
    pub flips: FlipCounts,
    /// Whether, with faults, something wasn't finite, so that all is as before the step.
    pub skipped: bool,
}

/// A step of which some batches are done.
struct PartialStep {
    state: RunState,
    /// Images of the whole step, and of the batches that are done.
    images: usize,
    done: usize,
    /// Batches that are done.
    batches: usize,
    /// Sum over the images that are done.
    loss: f64,
    right: usize,
    flips: FlipCounts,
    /// Whether, with faults, something wasn't finite.
    skipped: bool,
}

impl Trainer {
    /// One step at the present position, of one batch: forward, backward, update.
    ///
    /// # Errors
    /// [`Error::Diverged`] when the loss isn't finite, or the gradient norm, which is known where the
    /// recipe clips; the weights are as before then, but for running statistics. With faults such a step is skipped.
    pub fn step(&mut self, batch: &Batch) -> Result<StepFigures> {
        let mut step = self.begin_step(batch.len())?;
        self.add_batch(&mut step, batch)?;
        self.end_step(step)
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
        let mut step = self.begin_step(images)?;
        while step.done < images {
            let batch = batches.next().ok_or_else(|| {
                let missing = images - step.done;
                Error::usage(format!("the data ended {missing} images before a step's end"))
            })??;
            self.add_batch(&mut step, &batch)?;
        }
        self.end_step(step)
    }

    fn begin_step(&mut self, images: usize) -> Result<PartialStep> {
        let Position { epoch, step, .. } = self.position;
        let steps = self.job.epoch_steps();
        let learning_rate = self.job.learning_rate_at(epoch, step);
        // An optimiser counts its updates.
        let updates = (epoch * steps + step) as u64 - self.position.skipped();
        let state = RunState {
            seed: self.job.seed,
            epoch: epoch as u64,
            ..self.optimizer.rule().state(updates as u32, learning_rate)
        };
        if self.faults.is_some() {
            self.weights.keep_state(&mut self.kept_state)?;
        }
        let flips = FlipCounts::default();
        Ok(PartialStep {
            state,
            images,
            done: 0,
            batches: 0,
            loss: 0.0,
            right: 0,
            flips,
            skipped: false,
        })
    }

    /// Forward and backward of a batch, with its flips.
    fn add_batch(&mut self, step: &mut PartialStep, batch: &Batch) -> Result<()> {
        check_labels(&batch.labels, self.model.classes)?;
        // What is left of a step that will be skipped changes nothing.
        if !step.skipped {
            self.execution.begin_training(step.state, &batch.indices)?;
            self.begin_flips(step, batch.len())?;
            let passed = self.run_passes(step, batch);
            if self.faults.is_some() {
                self.execution.end_flips(&mut self.weights)?;
            }
            passed?;
        }
        step.done += batch.len();
        step.batches += 1;
        Ok(())
    }

    fn begin_flips(&mut self, step: &mut PartialStep, images: usize) -> Result<()> {
        let Some(faults) = &self.faults else { return Ok(()) };
        let Position { epoch, step: number, .. } = self.position;
        let drawn = faults.draw(BatchPlace { epoch, step: number, batch: step.batches }, images);
        step.flips.outputs += drawn.counts.outputs;
        step.flips.weights += drawn.counts.weights;
        for (target, flips) in &drawn.of_target {
            self.execution.flip(&mut self.weights, *target, flips)?;
        }
        Ok(())
    }

    /// The passes of a batch that was begun; gradients are added to those of the step's earlier ones.
    fn run_passes(&mut self, step: &mut PartialStep, batch: &Batch) -> Result<()> {
        let images = batch.len();
        self.execution.write(self.model.image, &batch.images)?;
        match &batch.shares {
            Some(shares) => self.execution.write(self.model.labels, shares)?,
            None => self.execution.write(self.model.labels, &batch.labels)?,
        }
        self.execution.forward_training(&mut self.weights)?;
        let gradient = vec![1.0 / step.images as f32; images];
        let (weights, of) = (&mut self.weights, self.model.loss);
        match step.batches {
            0 => self.execution.backward(weights, of, &gradient, |_| ())?,
            _ => self.execution.backward_adding(weights, of, &gradient, |_| ())?,
        }
        // Read when both passes are queued, so that a GPU doesn't wait in between. Where the loss isn't finite, the
        // gradients move nothing.
        let losses = self.execution.read(self.model.loss)?;
        let loss = losses.iter().map(|loss| f64::from(*loss)).sum::<f64>();
        if !self.is_finite("loss", loss / images as f64)? {
            step.skipped = true;
            return Ok(());
        }
        let logits = self.execution.read(self.model.logits)?;
        let rows = logits.chunks_exact(self.model.classes).zip(&batch.labels);
        step.right += rows.filter(|(row, label)| argmax(row) == **label as usize).count();
        step.loss += loss;
        Ok(())
    }

    /// Clipping, update and moving average.
    fn end_step(&mut self, mut step: PartialStep) -> Result<StepFigures> {
        if self.faults.is_some() && !step.skipped {
            step.skipped = !self.weights.state_is_finite()?;
        }
        let mut gradient_norm = None;
        if !step.skipped {
            // Where the norm isn't finite it moves nothing.
            self.execution.update(&mut self.weights, &mut self.optimizer)?;
            gradient_norm = self.optimizer.gradient_norm()?;
            if let Some(norm) = gradient_norm {
                step.skipped = !self.is_finite("gradient norm", norm)?;
            }
        }
        let Position { epoch, step: number, .. } = self.position;
        match (step.skipped, &self.kept_state, &mut self.average) {
            (true, Some(kept), _) => self.weights.restore_state(kept)?,
            (false, _, Some(average)) => average.after_step(epoch, number, &self.weights)?,
            _ => {}
        }
        let PartialStep { images, loss, right, flips, skipped, .. } = step;
        Ok(StepFigures { loss: loss / images as f64, right, gradient_norm, flips, skipped })
    }

    /// Whether a figure is finite.
    ///
    /// # Errors
    /// [`Error::Diverged`] where it isn't, and no fault can be the cause.
    fn is_finite(&self, figure: &'static str, value: f64) -> Result<bool> {
        let Position { epoch, step, .. } = self.position;
        match value.is_finite() || self.faults.is_some() {
            true => Ok(value.is_finite()),
            false => Err(Error::Diverged { epoch: epoch + 1, step: step + 1, figure, value }),
        }
    }
}
