//! What a model answers on a data set.

use super::Source;
use crate::Result;
use crate::data::{Batch, Batches, EpochPlan};
use crate::device::Device;
use crate::logits::{Score, rank};
use crate::models::Model;
use crate::progress::Progress;
use crate::tape::{Execution, PlanKind, Weights};

/// What a model says of one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// Its place in the data set.
    pub index: u64,
    pub label: u32,
    /// [`Score::computed`].
    pub score: Score,
    /// Classes that come before the label by logit: 0 is right, below 5 is in the top-5.
    pub rank: usize,
    /// Whether every logit is finite.
    pub is_finite: bool,
}

impl Answer {
    /// Reads the answer off the logits of one image.
    pub fn of(index: u64, label: u32, logits: &[f32]) -> Answer {
        Answer {
            index,
            label,
            score: Score::computed(logits, label),
            rank: rank(logits, label as usize),
            is_finite: logits.iter().all(|logit| logit.is_finite()),
        }
    }

    /// Whether the label is among the first `places` classes. Where a logit is NaN or infinite there is no order.
    pub fn is_within(&self, places: usize) -> bool {
        self.is_finite && self.rank < places
    }
}

/// A model's answers on a data set, in its order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    pub classes: usize,
    pub answers: Vec<Answer>,
    /// Images × classes, if they were asked for; else empty.
    pub logits: Vec<f32>,
}

impl Evaluation {
    /// Share of right answers in percent.
    pub fn top1_percent(&self) -> f64 {
        self.within(1)
    }

    /// Share of images whose label is among the five largest logits, in percent.
    pub fn top5_percent(&self) -> f64 {
        self.within(5)
    }

    fn within(&self, places: usize) -> f64 {
        let hits = self.answers.iter().filter(|answer| answer.is_within(places)).count();
        100.0 * hits as f64 / self.answers.len().max(1) as f64
    }

    /// Images with NaN or infinity among their logits.
    pub fn nonfinite(&self) -> usize {
        self.answers.iter().filter(|answer| !answer.is_finite).count()
    }

    /// Mean cross-entropy in nats.
    pub fn mean_loss(&self) -> f64 {
        self.mean(|answer| answer.score.loss)
    }

    /// Mean Top2Diff in percentage points.
    pub fn mean_top2diff_percent(&self) -> f64 {
        self.mean(|answer| answer.score.top2diff)
    }

    fn mean(&self, value: impl Fn(&Answer) -> f64) -> f64 {
        self.answers.iter().map(value).sum::<f64>() / self.answers.len().max(1) as f64
    }
}

/// A model with memory for forward passes.
pub struct Evaluator {
    model: Model,
    execution: Execution,
}

impl Evaluator {
    /// Memory on `device` for batches of up to `capacity` images.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(model: &Model, device: &Device, capacity: usize) -> Result<Self> {
        let outputs = [model.logits];
        let mut execution =
            Execution::new(&model.tape, device, PlanKind::Infer, capacity, &outputs)?;
        execution.use_graphs(true);
        Ok(Evaluator { model: model.clone(), execution })
    }

    /// The logits of a batch, images × classes.
    ///
    /// # Errors
    /// More images than there is room for, or of another size; those of the device.
    pub fn logits(&mut self, weights: &Weights, images: &[f32], count: usize) -> Result<Vec<f32>> {
        self.execution.begin(count)?;
        self.execution.write(self.model.image, images)?;
        self.execution.forward(weights)?;
        self.execution.read(self.model.logits)
    }

    /// Answers a batch; its logits are added to `evaluation` if `keep_logits`.
    fn answer(
        &mut self,
        weights: &Weights,
        batch: &Batch,
        keep_logits: bool,
        evaluation: &mut Evaluation,
    ) -> Result<()> {
        super::check_labels(&batch.labels, self.model.classes)?;
        let logits = self.logits(weights, &batch.images, batch.len())?;
        let rows = logits.chunks_exact(self.model.classes);
        for ((index, label), row) in batch.indices.iter().zip(&batch.labels).zip(rows) {
            evaluation.answers.push(Answer::of(*index, *label, row));
        }
        if keep_logits {
            evaluation.logits.extend_from_slice(&logits);
        }
        Ok(())
    }

    /// Answers all images of `source`, which are decoded beside the passes.
    ///
    /// # Errors
    /// Those of the data set and of the device.
    pub fn run(
        &mut self,
        weights: &Weights,
        source: &Source,
        keep_logits: bool,
        progress: &dyn Progress,
    ) -> Result<Evaluation> {
        let mut evaluation = Evaluation { classes: self.model.classes, ..Evaluation::default() };
        let plan = EpochPlan::eval(self.execution.capacity());
        let batches = Batches::new(source.dataset.clone(), source.transform, plan)?;
        progress.begin("evaluate", "images", 0, source.dataset.len() as u64);
        for batch in batches {
            let batch = batch?;
            self.answer(weights, &batch, keep_logits, &mut evaluation)?;
            let note = format!("top-1 {:.2} %", evaluation.top1_percent());
            progress.advance(batch.len() as u64, &note);
        }
        progress.end();
        Ok(evaluation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first class comes first among logits that are all NaN, and yet isn't the answer.
    #[test]
    fn an_answer_that_isn_t_finite_is_not_right() {
        assert!(Answer::of(0, 0, &[1.0, 0.5]).is_within(1));
        for logits in [[f32::NAN; 2], [f32::INFINITY, 0.0]] {
            let answer = Answer::of(0, 0, &logits);
            assert!(answer.rank == 0 && !answer.is_within(1) && !answer.is_within(5));
        }
    }
}
