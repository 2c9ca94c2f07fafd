//! Sparse replay on the CPU: one image at a time, recomputing the boxes that a fault reaches; images run side
//! by side on threads.

use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::experiment::Experiment;
use super::setup::Campaign;
use super::tail::TailBatch;
use super::tasks::{ImageTask, Listener};
use super::trial::{InjectionId, Trial};
use crate::Result;
use crate::fault::FaultEntry;
use crate::models::Network;
use crate::results::{Effect, Golden, Record};
use crate::tape::{Execution, NodeId, PackedWeights, PassOptions, PlanKind, Undo};
use crate::tensor::Region;

/// Executions that tasks borrow. A list and no thread-locals: a thread that waits inside rayon may
/// take up another task, which then needs an execution of its own.
pub(super) struct Pool<'c, 'a> {
    campaign: &'c Campaign<'a>,
    /// Of the layers before the tail.
    packed: Arc<PackedWeights>,
    idle: Mutex<Vec<Worker>>,
}

/// The most injections that wait for a pass through the tail, and so for their records.
const WAITING: usize = 64;

/// Memory for one image's golden run and its replays.
struct Worker {
    execution: Execution,
    tail: Option<TailBatch>,
    /// Golden values of a node, as far as they were asked for.
    values: Vec<f32>,
    undo: Undo,
    pixels: Vec<f32>,
}

/// The effect of a trial, or where it will come from.
enum TrialEffect {
    Known(Effect),
    /// Its number in the next pass through the tail.
    InTail(usize),
}

impl<'c, 'a> Pool<'c, 'a> {
    /// An empty pool; it grows to the number of threads.
    ///
    /// # Errors
    /// [`crate::Error::Unsupported`] for a campaign on another device than the CPU.
    pub fn new(campaign: &'c Campaign<'a>) -> Result<Self> {
        let Network { model, weights } = campaign.experiment.network;
        let device = weights.device();
        if !device.is_cpu() {
            return Err(device.unsupported("a campaign by sparse replay"));
        }
        // The tail's are read once for many faults, and are large.
        let last = model.tape.tail_input(&[model.logits]).unwrap_or(model.logits);
        let packed = Arc::new(PackedWeights::new(&model.tape, weights, last));
        Ok(Pool { campaign, packed, idle: Mutex::default() })
    }

    /// Runs the tasks in parallel.
    pub fn run(&self, tasks: Vec<ImageTask>, listener: &Listener<'_>) -> Result<()> {
        tasks.into_par_iter().with_max_len(1).try_for_each(|task| {
            if listener.is_stopped() {
                return Ok(());
            }
            let idle = self.idle().pop();
            let mut worker = match idle {
                Some(worker) => worker,
                None => self.worker()?,
            };
            self.run_task(&mut worker, &task, listener)?;
            self.idle().push(worker);
            Ok(())
        })
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Worker>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn worker(&self) -> Result<Worker> {
        let network = self.campaign.experiment.network;
        let tail = TailBatch::new(self.campaign)?;
        // What the tail comes from is asked for, too.
        let outputs: Vec<NodeId> =
            tail.iter().map(|tail| tail.input).chain([network.model.logits]).collect();
        let kind =
            if self.campaign.needs_every_value() { PlanKind::Golden } else { PlanKind::Replay };
        let mut execution = network.execution(kind, 1, &outputs)?;
        let packed = Some(self.packed.clone());
        execution.options = PassOptions { parallel: false, keep_patches: true, packed };
        let pixels = vec![0f32; network.model.image_elements()];
        Ok(Worker { execution, tail, values: Vec::new(), undo: Undo::default(), pixels })
    }

    fn run_task(
        &self,
        worker: &mut Worker,
        task: &ImageTask,
        listener: &Listener<'_>,
    ) -> Result<()> {
        let campaign = self.campaign;
        let Experiment { network, images, goldens, .. } = campaign.experiment;
        let golden = &goldens[task.image];
        images.load(golden.image, &mut worker.pixels)?;
        network.forward(&mut worker.execution, &worker.pixels)?;
        let logits = worker.execution.image_values(network.model.logits, 0);
        campaign.check_golden(task.image, logits)?;

        let mut waiting: Vec<Vec<(Trial, TrialEffect)>> = Vec::new();
        let mut records: Vec<Record> = Vec::new();
        for injection in &task.injections {
            if listener.is_stopped() {
                break;
            }
            let mut trials = Vec::new();
            for trial in self.trials(worker, *injection)? {
                let answer = self.run_trial(worker, golden, &trial)?;
                trials.push((trial, answer));
            }
            waiting.push(trials);
            let next = campaign.plan().detectors.len();
            if waiting.len() == WAITING || worker.tail.as_ref().is_some_and(|t| !t.has_room(next)) {
                let count = waiting.len();
                self.answer(worker, golden, &mut waiting, &mut records)?;
                listener.hear(count, &mut records, false)?;
            }
        }
        let count = waiting.len();
        self.answer(worker, golden, &mut waiting, &mut records)?;
        listener.hear(count, &mut records, true)
    }

    /// The trials of an injection into the image that the worker has run fault-free.
    fn trials(&self, worker: &mut Worker, injection: InjectionId) -> Result<Vec<Trial>> {
        let campaign = self.campaign;
        let layer = &campaign.layers()[injection.layer];
        let fault = campaign.fault(injection)?;
        let hit = campaign.hit_node(layer, fault.site);
        let Worker { execution, values, .. } = worker;
        if let Some(node) = hit {
            let map = campaign.model().tape.node(node).spec.map;
            let place = |entry: &FaultEntry| {
                let [channel, row, column] = map.locate(entry.element as usize);
                Region::element(0, row, column, channel)
            };
            let hull = fault.entries.iter().map(place).fold(Region::EMPTY, Region::hull);
            execution.golden_box(&campaign.experiment.network.weights, node, hull, values)?;
        }
        let detectors = &campaign.plan().detectors;
        Ok(Trial::of(injection, &fault, campaign.max(injection.layer), detectors, |entry| {
            campaign.golden_bits(layer, hit, entry, Some(values))
        }))
    }

    /// Runs a trial as far as it goes alone: to the network's tail, or to the end of what it reaches.
    fn run_trial(
        &self,
        worker: &mut Worker,
        golden: &Golden,
        trial: &Trial,
    ) -> Result<TrialEffect> {
        let campaign = self.campaign;
        let Worker { execution, tail, undo, .. } = worker;
        if trial.entries.is_empty() {
            return Ok(TrialEffect::Known(campaign.unchanged(golden)));
        }
        let layer = &campaign.layers()[trial.injection.layer];
        if let Some(tail) = tail.as_mut().filter(|tail| tail.takes(campaign, trial)) {
            let input = execution.image_values(tail.input, 0);
            return Ok(TrialEffect::InTail(tail.add(input, layer.node, &trial.entries)));
        }
        let Network { model, weights } = campaign.experiment.network;
        let logits = model.logits;
        let before = tail.as_mut().filter(|tail| layer.node <= tail.input);
        let end = before.as_ref().map_or(logits, |tail| tail.input);
        campaign.arm(execution, layer, &[(0, trial)])?;
        let replay = execution.replay_image(weights, layer.node, 0, &[end], undo)?;
        let values = execution.image_values(end, 0);
        let answer = match before {
            _ if !replay.reached_output => TrialEffect::Known(campaign.unchanged(golden)),
            Some(tail) => TrialEffect::InTail(tail.add(values, layer.node, &[])),
            None => TrialEffect::Known(campaign.effect(golden, values)),
        };
        execution.restore(undo);
        execution.disarm();
        Ok(answer)
    }

    /// Takes what waits through the tail and makes the records.
    fn answer(
        &self,
        worker: &mut Worker,
        golden: &Golden,
        waiting: &mut Vec<Vec<(Trial, TrialEffect)>>,
        records: &mut Vec<Record>,
    ) -> Result<()> {
        let logits = match &mut worker.tail {
            Some(tail) => tail.run(self.campaign)?,
            None => Vec::new(),
        };
        let detectors = &self.campaign.plan().detectors;
        for (trial, answer) in waiting.drain(..).flatten() {
            let effect = match answer {
                TrialEffect::Known(effect) => effect,
                TrialEffect::InTail(number) => {
                    let classes = golden.logits.len();
                    self.campaign.effect(golden, &logits[number * classes..(number + 1) * classes])
                }
            };
            trial.records(detectors, golden.image, golden.score, effect, records);
        }
        Ok(())
    }
}
