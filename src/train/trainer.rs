//! The training loop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::Value;

use super::average::Average;
use super::faults::FlipDraws;
use super::freeze::freeze;
use super::history::{self, EpochRecord};
use super::snapshot::{self, Position};
use super::{Evaluator, Job, Keep, Output};
use crate::data::{Batches, EpochPlan, repeated_order};
use crate::device::{Buffer, Device};
use crate::models::state::HostState;
use crate::models::{Facts, Loss, Model, Network, Targets};
use crate::ops::ParamSpec;
use crate::progress::Progress;
use crate::tape::{Execution, Optimizer, PlanKind, Weights};
use crate::{Error, Result};

/// Finished batches that wait for the loop.
const PREFETCH: usize = 2;
/// Steps that may be skipped on end before a run with faults gives up.
const MOST_SKIPPED: u64 = 50;

/// A model in training.
pub struct Trainer {
    pub(super) job: Job,
    identity: Value,
    pub(super) model: Model,
    pub(super) weights: Weights,
    pub(super) optimizer: Optimizer,
    pub(super) average: Option<Average>,
    pub(super) execution: Execution,
    evaluator: Option<Evaluator>,
    pub(super) faults: Option<FlipDraws>,
    /// With faults, the running statistics from before the present step.
    pub(super) kept_state: Option<Buffer>,
    pub(super) position: Position,
    /// How long the epochs that are over took, and since when the present one runs.
    seconds: Vec<Option<f64>>,
    began: Instant,
}

impl Trainer {
    /// A run that stands at its start; weights are drawn from the job's seed. What they start from
    /// beyond that, text features say, is the caller's to set through [`Trainer::weights_mut`].
    ///
    /// # Errors
    /// A job that can't be trained, a model that doesn't take its images, memory.
    pub fn new(job: Job, device: &Device) -> Result<Trainer> {
        job.check()?;
        let targets = match job.recipe.augmentation.mixing.is_none() {
            true => Targets::Classes,
            false => Targets::Shares,
        };
        let loss = Loss { label_smoothing: job.recipe.label_smoothing, targets };
        let mut model = Model::new(&job.file, job.head, job.classes(), job.image_size(), loss)?;
        freeze(&mut model, &job.freeze)?;
        let mut weights = Weights::new(&model.tape, device, true)?;
        weights.initialize(job.seed)?;
        let recipe = &job.recipe;
        let decay = |spec: &ParamSpec| recipe.decay_of(spec);
        let faults = match job.faults.is_empty() {
            true => None,
            false => Some(FlipDraws::new(&job.faults, &model.tape, job.seed)?),
        };
        // With faults the norm has to be known, though nothing is clipped.
        let max_norm = recipe.clip_grad_norm.or(faults.as_ref().map(|_| f32::INFINITY));
        let optimizer = Optimizer::new(&weights, recipe.rule(), decay, max_norm)?;
        let average = Average::new(recipe, &model.tape, device)?;
        let outputs = [model.loss, model.logits];
        let execution =
            Execution::new(&model.tape, device, PlanKind::Train, job.batch(), &outputs)?;
        let evaluator = match &job.validation {
            Some(_) => Some(Evaluator::new(&model, device, job.batch())?),
            None => None,
        };
        let identity = job.identity(device.compute())?;
        let position = Position::default();
        Ok(Trainer {
            job,
            identity,
            model,
            weights,
            optimizer,
            average,
            execution,
            evaluator,
            faults,
            kept_state: None,
            position,
            seconds: Vec::new(),
            began: Instant::now(),
        })
    }

    /// What is trained, and on what.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// The model as it was recorded for training: its loss is smoothed if the recipe says.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What the trained model's file says about itself.
    pub fn facts(&self) -> Facts {
        Facts::new(&self.model, &self.job.file, Some(self.job.class_names()))
    }

    /// The weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The weights, to be set before the first step.
    pub fn weights_mut(&mut self) -> &mut Weights {
        &mut self.weights
    }

    /// The model and what training has come to, when it is over: the weights, or their average if the
    /// recipe takes one.
    pub fn into_network(self) -> Network {
        let weights = self.average.map_or(self.weights, |average| average.weights);
        Network { model: self.model, weights }
    }

    /// What is evaluated and saved.
    fn result(&self) -> &Weights {
        self.average.as_ref().map_or(&self.weights, |average| &average.weights)
    }

    /// The memory and the clocks of the passes.
    pub fn execution_mut(&mut self) -> &mut Execution {
        &mut self.execution
    }

    /// The epochs that are over.
    pub fn history(&self) -> &[EpochRecord] {
        &self.position.history
    }

    /// The epoch, from 0, whose weights are kept as the trained model, of those that are over.
    pub fn kept_epoch(&self) -> Option<usize> {
        match self.job.keep() {
            Keep::Last => self.history().last().map(|record| record.epoch),
            Keep::Best => history::best_epoch(self.history()),
        }
    }

    /// The epoch and the step of it that come next, from 0.
    pub fn position(&self) -> (usize, usize) {
        (self.position.epoch, self.position.step)
    }

    /// Goes on from the job's snapshot; where there is none, from the model that the run made at its end.
    ///
    /// # Errors
    /// [`Error::Usage`] for a job without output; [`Error::File`] for a snapshot or model of another run,
    /// with all that differs, or a damaged one.
    pub fn resume(&mut self) -> Result<()> {
        let Some(output) = &self.job.output else {
            return Err(Error::usage("a run without an output folder can't be resumed"));
        };
        let path = output.snapshot();
        if !path.exists() && output.model().exists() {
            let result = self.average.as_mut().map_or(&mut self.weights, |of| &mut of.weights);
            snapshot::read_model(&output.model(), &self.identity, &self.model, result)?;
            self.position = Position { epoch: self.job.recipe.epochs, ..Position::default() };
            return Ok(());
        }
        let Trainer { identity, model, weights, optimizer, average, .. } = self;
        let average = average.as_mut().map(|average| &mut average.weights);
        self.position = snapshot::read(&path, identity, model, weights, optimizer, average)?;
        self.seconds = history::seconds(&output.history(), &self.position.history);
        match (self.job.keep(), self.kept_epoch()) {
            (Keep::Best, Some(best)) => self.check_kept(best, self.position.epoch),
            _ => Ok(()),
        }
    }

    /// Refuses a kept model that is neither that of the epoch `best` nor that of an epoch from `again` on, which will be
    /// trained again.
    fn check_kept(&self, best: usize, again: usize) -> Result<()> {
        let Some(output) = &self.job.output else { return Ok(()) };
        if !output.model().exists() {
            let detail =
                format!("isn't there, but held epoch {}, the best of the run so far", best + 1);
            return Err(Error::file(output.model(), detail));
        }
        let kept = snapshot::kept_epoch(&output.model(), &self.identity)?;
        if kept == best || kept >= again {
            return Ok(());
        }
        let detail = format!(
            "holds epoch {}, but epoch {} is the best of the run: train it again in another folder",
            kept + 1,
            best + 1
        );
        Err(Error::file(output.model(), detail))
    }

    /// Trains to the recipe's last epoch from wherever the run stands, and writes what the job's
    /// output asks for: snapshots and the table of epochs on the way, the model at the end, or at each epoch that
    /// is better than those before where the best is kept.
    ///
    /// # Errors
    /// [`Error::Diverged`] when a loss or a gradient norm isn't finite, [`Error::Skipping`] where with faults that holds
    /// of 50 steps on end; those of the data, the device and the disk. The
    /// last snapshot stands whatever happens.
    pub fn run(&mut self, progress: &dyn Progress) -> Result<()> {
        self.run_until(progress, &AtomicBool::new(false)).map(drop)
    }

    /// As [`Trainer::run`], but once `stop` is set no further step is begun: a snapshot is written instead, from which
    /// the run goes on. Whether the last epoch is over.
    ///
    /// # Errors
    /// As [`Trainer::run`].
    pub fn run_until(&mut self, progress: &dyn Progress, stop: &AtomicBool) -> Result<bool> {
        self.began = Instant::now();
        if let Some(output) = &self.job.output {
            std::fs::create_dir_all(&output.folder)
                .map_err(|source| Error::io(&output.folder, source))?;
        }
        let epochs = self.job.recipe.epochs;
        let mut batches = None;
        while self.position.epoch < epochs {
            let loader = match batches.take() {
                Some(loader) => Some(loader),
                // It was stopped when all of its steps were over.
                None if self.position.step == self.job.epoch_steps() => None,
                None => Some(self.loader(self.position.epoch, self.position.step)?),
            };
            if !self.run_steps(loader, progress, stop)? {
                self.write_snapshot()?;
                return Ok(false);
            }
            // Decoding goes on while the epoch is evaluated and saved.
            if self.position.epoch + 1 < epochs {
                batches = Some(self.loader(self.position.epoch + 1, 0)?);
            }
            self.end_epoch(progress)?;
        }
        let Some(output) = &self.job.output else { return Ok(true) };
        match (self.job.keep(), self.kept_epoch()) {
            (Keep::Best, Some(best)) => self.check_kept(best, epochs)?,
            // The model of a run that is over already, whose snapshot is gone.
            (Keep::Best, None) => {}
            (Keep::Last, _) => {
                let metadata = snapshot::provenance(&self.facts(), &self.identity);
                HostState::read(self.result())?.write(&output.model(), &metadata)?;
            }
        }
        // One that an older version began has none yet.
        if !self.history().is_empty() {
            self.write_history()?;
        }
        Ok(true)
    }

    /// The batches of an epoch from `step` on.
    fn loader(&self, epoch: usize, step: usize) -> Result<Batches> {
        let job = &self.job;
        let epoch = epoch as u64;
        let augmentation = &job.recipe.augmentation;
        let images = job.train.dataset.len();
        let mut samples =
            repeated_order(images, (augmentation.repetitions, job.batch()), job.seed, epoch);
        samples.truncate(job.epoch_images());
        // The last batch may be a smaller one.
        samples.drain(..job.images_before(step));
        let plan = EpochPlan {
            drop_last: false,
            prefetch: PREFETCH,
            workers: job.workers,
            mixing: augmentation.mixing,
            ..EpochPlan::train(job.batch(), job.seed, epoch)
        };
        Batches::of(job.train.dataset.clone(), job.train.transform, plan, samples)
    }

    /// The rest of the epoch's steps, or those before `stop` is set; whether it wasn't.
    fn run_steps(
        &mut self,
        batches: Option<Batches>,
        progress: &dyn Progress,
        stop: &AtomicBool,
    ) -> Result<bool> {
        let task = format!("epoch {}/{}", self.position.epoch + 1, self.job.recipe.epochs);
        let (steps, total) = (self.job.epoch_steps(), self.job.epoch_images() as u64);
        let done = self.job.images_before(self.position.step) as u64;
        progress.begin(&task, "images", done, total);
        let mut batches = batches.into_iter().flatten();
        while self.position.step < steps && !stop.load(Ordering::Relaxed) {
            let step = self.position.step;
            let images = self.job.images_before(step + 1) - self.job.images_before(step);
            let figures = self.step_of(&mut batches, images)?;
            self.position.count(images, &figures);
            progress.advance(images as u64, &self.position.running.words());
            self.position.step += 1;
            self.require_steps_that_count()?;
            let Some(Output { snapshot_steps: Some(every), .. }) = self.job.output else {
                continue;
            };
            if self.position.step.is_multiple_of(every.max(1)) && self.position.step < steps {
                self.write_snapshot()?;
            }
        }
        progress.end();
        Ok(!stop.load(Ordering::Relaxed))
    }

    /// Refuses to go on where nothing is learned any more.
    fn require_steps_that_count(&self) -> Result<()> {
        let Position { epoch, step, running, skipped_on_end, .. } = &self.position;
        let is_empty = *step == self.job.epoch_steps() && running.images == 0;
        if *skipped_on_end < MOST_SKIPPED && !is_empty {
            return Ok(());
        }
        Err(Error::Skipping { epoch: epoch + 1, step: *step, steps: *skipped_on_end })
    }

    /// Evaluates, records and saves an epoch whose steps are done.
    fn end_epoch(&mut self, progress: &dyn Progress) -> Result<()> {
        let epoch = self.position.epoch;
        let steps = self.job.epoch_steps();
        let running = self.position.running;
        let with_faults = |count: u64| self.faults.as_ref().map(|_| count);
        let mut record = EpochRecord {
            epoch,
            learning_rate: self.job.recipe.learning_rate_at(epoch, steps - 1, steps),
            loss: running.mean_loss() as f32,
            top1_percent: running.top1_percent() as f32,
            validation_loss: None,
            validation_top1_percent: None,
            output_flips: with_faults(running.output_flips),
            weight_flips: with_faults(running.weight_flips),
            skipped_steps: with_faults(running.skipped_steps),
        };
        let average = self.average.as_ref().map(|average| &average.weights);
        if let (Some(evaluator), Some(source)) = (&mut self.evaluator, &self.job.validation) {
            let weights = average.unwrap_or(&self.weights);
            let evaluation = evaluator.run(weights, source, false, progress)?;
            record.validation_loss = Some(evaluation.mean_loss() as f32);
            record.validation_top1_percent = Some(evaluation.top1_percent() as f32);
        }
        progress.line(&record.describe(self.job.recipe.epochs));
        self.position.history.push(record);
        self.position = Position {
            epoch: epoch + 1,
            history: std::mem::take(&mut self.position.history),
            skipped_on_end: self.position.skipped_on_end,
            ..Position::default()
        };
        self.seconds.push(Some(self.began.elapsed().as_secs_f64()));
        self.began = Instant::now();
        if let Some(output) = &self.job.output {
            // Before the snapshot: what a run that ends here wrote too much is written again.
            if self.job.keep() == Keep::Best && self.kept_epoch() == Some(epoch) {
                let metadata = snapshot::provenance_of(&self.facts(), &self.identity, epoch);
                HostState::read(self.result())?.write(&output.model(), &metadata)?;
            }
            self.write_history()?;
        }
        self.write_snapshot()
    }

    fn write_history(&self) -> Result<()> {
        let Some(output) = &self.job.output else { return Ok(()) };
        history::write(&output.history(), self.history(), self.kept_epoch(), &self.seconds)
    }

    fn write_snapshot(&self) -> Result<()> {
        let Some(output) = &self.job.output else { return Ok(()) };
        let metadata = snapshot::provenance(&self.facts(), &self.identity);
        let Trainer { position, weights, optimizer, average, .. } = self;
        let average = average.as_ref().map(|average| &average.weights);
        snapshot::write(&output.snapshot(), metadata, position, weights, optimizer, average)
    }
}
