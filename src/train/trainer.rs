//! The training loop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::Value;

use super::average::Average;
use super::faults::FlipDraws;
use super::freeze::freeze;
use super::metrics::{EpochMetrics, StepMetrics};
use super::output::RunLock;
use super::replay_check::{StepOutcome, StepState};
use super::run_log::{EpochListener, RunLog};
use super::snapshot::{self, BegunBy, Position, Running};
use super::summary::{self, EpochRecord};
use super::{Evaluator, Job, Output, StepFigures};
use crate::data::{Batch, Batches, EpochPlan, repeated_order};
use crate::device::{Buffer, Device};
use crate::fault::Site;
use crate::models::depth::rate_scales;
use crate::models::state::HostState;
use crate::models::{Facts, Loss, Model, Network, Targets};
use crate::ops::ParamSpec;
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::tape::{Execution, Optimizer, OptimizerOptions, PlanKind, Weights};
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
    watch: Watch,
}

/// What goes on beside training, and decides no bit of it.
#[derive(Default)]
struct Watch {
    lock: Option<RunLock>,
    /// There while the run goes on.
    log: Option<RunLog>,
    listener: Option<EpochListener>,
    /// Steps from one that is taken twice to the next.
    replay_check: Option<usize>,
    /// What befalls the weights and the optimizer between the two.
    #[cfg(test)]
    disturbance: Option<fn(&mut Weights, &mut Optimizer)>,
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
        let Recipe { label_smoothing, loss: kind, .. } = job.recipe;
        let loss = Loss { label_smoothing, targets, kind };
        let mut model = Model::new(&job.file, job.head, job.classes(), job.image_size(), loss)?;
        freeze(&mut model, &job.freeze)?;
        let mut weights = Weights::new(&model.tape, device, true)?;
        weights.initialize(job.seed)?;
        let recipe = &job.recipe;
        let decay = |spec: &ParamSpec| recipe.decay_of(spec);
        let scales = recipe.layer_decay.map(|decay| rate_scales(&model, decay)).transpose()?;
        let faults = match job.faults.is_empty() {
            true => None,
            false => Some(FlipDraws::new(&job.faults, &model.tape, job.seed)?),
        };
        let options = OptimizerOptions {
            clipping: recipe.clipping(),
            rate_scales: scales.as_deref(),
            needs_norm: faults.is_some(),
            ..OptimizerOptions::new(recipe.rule(), &decay)
        };
        let optimizer = Optimizer::new(&weights, options)?;
        let average = Average::new(recipe, &model.tape, device)?;
        let outputs = [model.loss, model.logits];
        let mut execution =
            Execution::new(&model.tape, device, PlanKind::Train, job.batch(), &outputs)?;
        execution.use_graphs(true);
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
            watch: Watch::default(),
        })
    }

    /// Hands over the lock on the job's folder, which [`Trainer::run`] takes for itself otherwise.
    pub fn hold(&mut self, lock: RunLock) {
        self.watch.lock = Some(lock);
    }

    /// Every epoch that is over is told to `listener`, too.
    pub fn listen(&mut self, listener: EpochListener) {
        self.watch.listener = Some(listener);
    }

    /// Takes every so many steps twice, each time from the same weights, moments and average, and compares loss, logits,
    /// gradients, and weights, running statistics, moments and average after it, to the bit. Costs a second step, and
    /// twice a copy of all of that to the host.
    pub fn check_replays(&mut self, every: usize) {
        self.watch.replay_check = Some(every.max(1));
    }

    /// Something that befalls the state between the two times that a step is taken.
    #[cfg(test)]
    pub(super) fn disturb(&mut self, how: fn(&mut Weights, &mut Optimizer)) {
        self.watch.disturbance = Some(how);
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

    /// The epoch, from 0, of those that are over, that has the highest top-1 on the validation images, the first of
    /// equals; its model is the output's [`Output::best`].
    pub fn best_epoch(&self) -> Option<usize> {
        let from = self.position.best_from as usize;
        summary::best_epoch(self.history().get(from..).unwrap_or_default())
    }

    /// Steps that weren't taken so far, since their loss or their gradients weren't finite.
    pub fn skipped_steps(&self) -> u64 {
        self.position.skipped()
    }

    /// Steps that are over, of all the run's.
    fn steps_done(&self) -> u64 {
        (self.position.epoch * self.job.epoch_steps() + self.position.step) as u64
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
        let Some(path) = output.resumable() else {
            let result = self.average.as_mut().map_or(&mut self.weights, |of| &mut of.weights);
            snapshot::read_model(&output.model(), &self.identity, &self.model, result)?;
            self.position = Position { epoch: self.job.recipe.epochs, ..Position::default() };
            return Ok(());
        };
        let Trainer { identity, model, weights, optimizer, average, .. } = self;
        let average = average.as_mut().map(|average| &mut average.weights);
        let (position, origin) =
            snapshot::read(&path, identity, model, weights, optimizer, average)?;
        output.adopt(origin == BegunBy::KeptBest)?;
        self.seconds = summary::seconds(&output.summary(), &position.history);
        self.position = position;
        self.check_best(self.position.epoch)
    }

    /// Refuses a model of the best epoch that isn't that of it, nor of an epoch from `again` on, which will be trained
    /// again.
    fn check_best(&self, again: usize) -> Result<()> {
        let (Some(output), Some(best)) = (&self.job.output, self.best_epoch()) else {
            return Ok(());
        };
        let path = output.best();
        if !path.exists() {
            let detail =
                format!("isn't there, but held epoch {}, the best of the run so far", best + 1);
            return Err(Error::file(path, detail));
        }
        let kept = snapshot::epoch_of(&path, &self.identity)?;
        if kept == best || kept >= again {
            return Ok(());
        }
        let detail = format!(
            "holds epoch {}, but epoch {} is the best of the run: train it again in another folder",
            kept + 1,
            best + 1
        );
        Err(Error::file(path, detail))
    }

    /// Trains to the recipe's last epoch from wherever the run stands, and writes what the job's
    /// output asks for: snapshots, metrics, the table of epochs and models of epochs on the way, the model at the end.
    ///
    /// # Errors
    /// [`Error::Diverged`] when a loss or a gradient norm isn't finite, [`Error::Skipping`] where with faults that holds
    /// of 50 steps on end; [`Error::Unrepeatable`] when a step that was taken twice differs; [`Error::Usage`] when
    /// another process trains in the folder; those of the data, the device and the disk. The last snapshot stands
    /// whatever happens.
    pub fn run(&mut self, progress: &dyn Progress) -> Result<()> {
        self.run_until(progress, &AtomicBool::new(false)).map(drop)
    }

    /// As [`Trainer::run`], but once `stop` is set no further step is begun: a snapshot is written instead, from which
    /// the run goes on. Whether the last epoch is over.
    ///
    /// # Errors
    /// As [`Trainer::run`].
    pub fn run_until(&mut self, progress: &dyn Progress, stop: &AtomicBool) -> Result<bool> {
        let _lock = match (&self.watch.lock, &self.job.output) {
            (None, Some(output)) => Some(output.lock()?),
            _ => None,
        };
        let log = match self.position.epoch < self.job.recipe.epochs {
            true => Some(RunLog::begin(
                self.job.output.as_ref(),
                self.position.epoch,
                self.steps_done(),
            )?),
            false => None,
        };
        self.watch.log = log;
        let is_over = self.run_epochs(progress, stop);
        self.watch.log = None;
        is_over
    }

    fn run_epochs(&mut self, progress: &dyn Progress, stop: &AtomicBool) -> Result<bool> {
        self.began = Instant::now();
        if self.position.best_from > 0 && self.best_epoch().is_none() {
            progress.line(&format!(
                "the best epoch is looked for from epoch {} on: those before were trained by an older version",
                self.position.best_from + 1
            ));
        }
        let lost = self.watch.log.as_ref().map_or(0, RunLog::lost_epochs);
        if let (1.., Some(output)) = (lost, &self.job.output) {
            let path = output.metrics();
            progress.line(&format!("{}: lacks {lost} epochs that are over", path.display()));
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
        self.check_best(epochs)?;
        let metadata = snapshot::provenance(&self.facts(), &self.identity);
        HostState::read(self.result())?.write(&output.model(), &metadata)?;
        // One that an older version began has none yet.
        if !self.history().is_empty() {
            self.write_summary()?;
            output.prune(epochs)?;
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
        if let Some(log) = &mut self.watch.log {
            log.begin_steps();
        }
        let mut batches = batches.into_iter().flatten();
        while self.position.step < steps && !stop.load(Ordering::Relaxed) {
            let step = self.position.step;
            let images = self.job.images_before(step + 1) - self.job.images_before(step);
            let figures = self.checked_step(&mut batches, images)?;
            self.position.count(images, &figures);
            self.position.step += 1;
            self.log_step(step, &figures, images)?;
            progress.advance(images as u64, &self.note());
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

    /// A step's line in the files of metrics, where it has one; `step` of the epoch from 0.
    fn log_step(&mut self, step: usize, figures: &StepFigures, images: usize) -> Result<()> {
        let (epoch, steps) = (self.position.epoch, self.job.epoch_steps());
        let done = self.steps_done();
        let Some(log) = &mut self.watch.log else { return Ok(()) };
        log.count(images);
        if !log.is_due(step + 1, steps) {
            return Ok(());
        }
        log.step(StepMetrics {
            epoch: epoch + 1,
            step: done,
            loss: figures.loss,
            top1_percent: 100.0 * figures.right as f64 / images.max(1) as f64,
            learning_rate: self.job.learning_rate_at(epoch, step),
            gradient_norm: figures.gradient_norm,
            skipped_steps: self.position.skipped(),
            images_per_second: 0.0,
            memory_bytes: self.weights.device().memory_used(),
        })
    }

    /// What is said beside the bar.
    fn note(&self) -> String {
        let Position { epoch, running, .. } = &self.position;
        let an_epoch = self.job.epoch_images() as u64;
        let after = (self.job.recipe.epochs - 1 - epoch) as u64 * an_epoch;
        let done = self.job.images_before(self.position.step) as u64;
        let left = an_epoch.saturating_sub(done) + after;
        let figures = (running.mean_loss(), running.top1_percent());
        let log = self.watch.log.as_ref();
        log.map_or_else(String::new, |log| {
            log.note(figures, self.position.skipped(), (left, after))
        })
    }

    /// The step of the next batches, which have `images` together; taken twice where it is to be checked.
    fn checked_step(
        &mut self,
        batches: &mut dyn Iterator<Item = Result<Batch>>,
        images: usize,
    ) -> Result<StepFigures> {
        let number = self.steps_done() + 1;
        let is_checked =
            self.watch.replay_check.is_some_and(|every| number.is_multiple_of(every as u64));
        if !is_checked {
            return self.step_of(batches, images);
        }
        let mut taken = Vec::new();
        let mut missing = images;
        while let Some(batch) = if missing > 0 { batches.next() } else { None } {
            let batch = batch?;
            missing = missing.saturating_sub(batch.len());
            taken.push(batch);
        }
        let average = self.average.as_ref().map(|average| &average.weights);
        let before = StepState::read(&self.weights, &self.optimizer, average)?;
        let figures = self.step_of(&mut taken.iter().cloned().map(Ok), images)?;
        let first = self.outcome(&figures)?;
        let average = self.average.as_mut().map(|average| &mut average.weights);
        before.restore(&mut self.weights, &mut self.optimizer, average)?;
        #[cfg(test)]
        if let Some(disturb) = self.watch.disturbance {
            disturb(&mut self.weights, &mut self.optimizer);
        }
        let tensor = match self.step_of(&mut taken.into_iter().map(Ok), images) {
            Ok(figures) => {
                let again = self.outcome(&figures)?;
                first.difference(&again, &self.weights, &self.optimizer)
            }
            Err(Error::Diverged { figure, value, .. }) => {
                Some(format!("the {figure}: a finite one and {value}"))
            }
            Err(error) => return Err(error),
        };
        let Position { epoch, step, .. } = self.position;
        match tensor {
            None => Ok(figures),
            Some(tensor) => Err(Error::Unrepeatable { epoch: epoch + 1, step: step + 1, tensor }),
        }
    }

    /// What the step that is just over came to.
    fn outcome(&self, figures: &StepFigures) -> Result<StepOutcome> {
        let losses = self.execution.read(self.model.loss)?;
        let logits = self.execution.read(self.model.logits)?;
        let average = self.average.as_ref().map(|average| &average.weights);
        StepOutcome::read((figures.loss, losses, logits), &self.weights, &self.optimizer, average)
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
        let at = |site, count: u64| {
            self.job.faults.iter().any(|fault| fault.site == site).then_some(count)
        };
        let mut record = EpochRecord {
            epoch,
            learning_rate: self.job.learning_rate_at(epoch, steps - 1),
            loss: running.mean_loss() as f32,
            top1_percent: running.top1_percent() as f32,
            validation_loss: None,
            validation_top1_percent: None,
            output_flips: at(Site::Output, running.output_flips),
            weight_flips: at(Site::Weight, running.weight_flips),
            skipped_steps: self.faults.as_ref().map(|_| running.skipped_steps),
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
        (self.position.epoch, self.position.step) = (epoch + 1, 0);
        self.position.running = Running::default();
        let seconds = self.began.elapsed().as_secs_f64();
        self.seconds.push(Some(seconds));
        self.began = Instant::now();
        let best = self.best_epoch() == Some(epoch);
        // All before the snapshot: what a run that ends here wrote too much is written again.
        if let Some(output) = &self.job.output {
            self.write_models(output, epoch, best)?;
            self.write_summary()?;
        }
        let line = EpochMetrics {
            record: EpochRecord { epoch: epoch + 1, ..record },
            step: self.steps_done(),
            best,
            seconds,
        };
        let Watch { log, listener, .. } = &mut self.watch;
        log.as_mut().map_or(Ok(()), |log| log.epoch(line, listener.as_mut()))?;
        self.write_snapshot()?;
        // A newer one is safely there.
        self.job.output.as_ref().map_or(Ok(()), |output| output.prune(epoch + 1))
    }

    /// The models of an epoch that is just over, as far as they are kept.
    fn write_models(&self, output: &Output, epoch: usize, best: bool) -> Result<()> {
        let best = best.then(|| output.best());
        let of_epoch = (output.keep > 0).then(|| output.epoch(epoch));
        let paths = [best, of_epoch];
        let mut paths = paths.iter().flatten().peekable();
        if paths.peek().is_none() {
            return Ok(());
        }
        let metadata = snapshot::provenance_of(&self.facts(), &self.identity, epoch);
        let state = HostState::read(self.result())?;
        paths.try_for_each(|path| state.write(path, &metadata))
    }

    fn write_summary(&self) -> Result<()> {
        let Some(output) = &self.job.output else { return Ok(()) };
        summary::write(&output.summary(), self.history(), self.best_epoch(), &self.seconds)
    }

    fn write_snapshot(&self) -> Result<()> {
        let Some(output) = &self.job.output else { return Ok(()) };
        self.watch.log.as_ref().map_or(Ok(()), RunLog::sync)?;
        let metadata = snapshot::provenance(&self.facts(), &self.identity);
        let Trainer { position, weights, optimizer, average, .. } = self;
        let average = average.as_ref().map(|average| &average.weights);
        snapshot::write(&output.snapshot(), metadata, position, weights, optimizer, average)
    }
}
