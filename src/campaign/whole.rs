//! Injections on any device: batches of images, each with a fault of its own, replayed by whole
//! nodes. Layers come in descending order, so that a replay finds golden values before it.
//!
//! The device is kept busy by what is queued ahead on its one stream: while it runs a round, the one before it is judged
//! and the one behind it armed, and the golden values that the next layer's faults hit are asked for before this layer's
//! rounds. A second execution and stream would need the memory of every value again and share the same multiprocessors,
//! which one round's kernels fill; what it could hide are the host's few microseconds between rounds, and these are hidden
//! already.

use rayon::prelude::*;

use super::experiment::Experiment;
use super::images::load_ahead;
use super::setup::Campaign;
use super::tasks::{ImageTask, Listener};
use super::trial::{Fault, InjectionId, Trial};
use crate::Result;
use crate::device::Download;
use crate::models::Network;
use crate::results::{Effect, Record};
use crate::tape::{Execution, PlanKind, WordPlace};

/// Runs the tasks (one an image), `batch` images at a time.
pub(super) fn run(
    campaign: &Campaign<'_>,
    tasks: Vec<ImageTask>,
    batch: usize,
    listener: &Listener<'_>,
) -> Result<()> {
    let Experiment { network, images, goldens, .. } = campaign.experiment;
    let capacity = campaign.capacity(batch).min(tasks.len().max(1));
    let outputs = [network.model.logits];
    let mut execution = network.execution(PlanKind::Golden, capacity, &outputs)?;
    execution.use_graphs(campaign.graphs);
    execution.options.keep_patches = true;
    let list: Vec<usize> = tasks.iter().map(|task| goldens[task.image].image).collect();
    load_ahead(&network.model, *images, &list, capacity, |batches| {
        for tasks in tasks.chunks(capacity) {
            if listener.is_stopped() {
                break;
            }
            let Some(batch) = batches.next() else { break };
            let (pixels, _) = batch?;
            run_batch(campaign, &mut execution, tasks, &pixels, listener)?;
        }
        Ok(())
    })
}

fn run_batch(
    campaign: &Campaign<'_>,
    execution: &mut Execution,
    tasks: &[ImageTask],
    pixels: &[f32],
    listener: &Listener<'_>,
) -> Result<()> {
    let network = campaign.experiment.network;
    let model = &network.model;
    network.forward(execution, pixels)?;
    let logits = execution.read(model.logits)?;
    for (task, logits) in tasks.iter().zip(logits.chunks(model.classes)) {
        campaign.check_golden(task.image, logits)?;
    }

    let mut order: Vec<usize> = (0..campaign.layers().len()).collect();
    order.retain(|index| tasks.iter().any(|task| injections(task, *index).next().is_some()));
    let node = |index: &usize| campaign.layers()[*index].node;
    order.sort_by_key(|index| std::cmp::Reverse(node(index)));
    // Layers of one node (its output and its parameters, in lists) are asked for together: the replays of each change its
    // value. What lies before it stays golden.
    let nodes: Vec<&[usize]> = order.chunk_by(|a, b| node(a) == node(b)).collect();
    let ask = |execution: &mut Execution, at: usize| {
        let layers = nodes.get(at).copied().unwrap_or_default().iter();
        let asked = layers.map(|index| AskedLayer::new(campaign, execution, tasks, *index));
        asked.collect::<Result<Vec<AskedLayer>>>()
    };
    let mut rounds = Rounds { campaign, tasks, listener, queued: None, records: Vec::new() };
    let mut asked = ask(execution, 0)?;
    'layers: for at in 1.. {
        let layers = std::mem::take(&mut asked);
        if layers.is_empty() {
            break;
        }
        asked = ask(execution, at)?;
        for layer in layers {
            if listener.is_stopped() {
                break 'layers;
            }
            rounds.run_layer(execution, layer)?;
        }
    }
    rounds.end()
}

/// A task's injections into a layer.
fn injections(task: &ImageTask, layer: usize) -> impl Iterator<Item = InjectionId> + '_ {
    task.injections.iter().filter(move |injection| injection.layer == layer).copied()
}

/// A layer whose faults are known, and the golden values that they hit on their way to the host.
struct AskedLayer {
    index: usize,
    /// Image of the batch, injection, fault.
    faults: Vec<(usize, InjectionId, Fault)>,
    /// The bits of each entry that hits a word of memory, in order.
    words: Download,
}

impl AskedLayer {
    /// Of the injections of `tasks` into layer `index`.
    fn new(
        campaign: &Campaign<'_>,
        execution: &mut Execution,
        tasks: &[ImageTask],
        index: usize,
    ) -> Result<AskedLayer> {
        let layer = &campaign.layers()[index];
        let mut faults = Vec::new();
        for (slot, task) in tasks.iter().enumerate() {
            for injection in injections(task, index) {
                faults.push((slot, injection, campaign.fault(injection)?));
            }
        }
        let places = faults.iter().flat_map(|(slot, _, fault)| {
            let place = |entry| campaign.word_hit(layer, *slot, fault.site, entry);
            fault.entries.iter().filter_map(place)
        });
        let places: Vec<WordPlace> = places.collect();
        let words = execution.read_words(&campaign.experiment.network.weights, &places)?;
        Ok(AskedLayer { index, faults, words })
    }

    /// The trials of each of `images`.
    fn trials(self, campaign: &Campaign<'_>, images: usize) -> Result<Vec<Vec<Trial>>> {
        let layer = &campaign.layers()[self.index];
        let max = campaign.max(self.index);
        let mut words = self.words.wait::<u32>()?.into_iter();
        let mut trials: Vec<Vec<Trial>> = Vec::new();
        trials.resize_with(images, Vec::new);
        for (slot, injection, fault) in &self.faults {
            let bits = |entry: &_| {
                let place = campaign.word_hit(layer, *slot, fault.site, entry);
                place.and_then(|_| words.next())
            };
            trials[*slot].extend(Trial::of(
                *injection,
                fault,
                max,
                &campaign.plan().detectors,
                bits,
            ));
        }
        Ok(trials)
    }
}

/// A round that was queued: a trial each of some images of the batch.
struct QueuedRound {
    /// Those that have nothing to run, before the others.
    unchanged: Vec<(usize, Trial)>,
    faulty: Vec<(usize, Trial)>,
    /// Of all images of the batch; `None` where nothing was run.
    logits: Option<Download>,
    /// The injections of the layer whose last round it is, 0 in another.
    done: usize,
}

/// The rounds of a batch, each judged when the next one is queued.
struct Rounds<'b> {
    campaign: &'b Campaign<'b>,
    tasks: &'b [ImageTask],
    listener: &'b Listener<'b>,
    queued: Option<QueuedRound>,
    records: Vec<Record>,
}

impl Rounds<'_> {
    /// The injections of one layer: round r runs trial r of every image that has one.
    fn run_layer(&mut self, execution: &mut Execution, asked: AskedLayer) -> Result<()> {
        let (index, mut done) = (asked.index, asked.faults.len());
        let mut trials = asked.trials(self.campaign, self.tasks.len())?;
        let mut unchanged = Vec::new();
        for (slot, trials) in trials.iter_mut().enumerate() {
            let empty = trials.extract_if(.., |trial| trial.entries.is_empty());
            unchanged.extend(empty.map(|trial| (slot, trial)));
        }
        let mut left: usize = trials.iter().map(Vec::len).sum();
        let mut trials: Vec<_> = trials.into_iter().map(Vec::into_iter).collect();
        loop {
            let faulty: Vec<(usize, Trial)> = (trials.iter_mut().enumerate())
                .filter_map(|(slot, trials)| Some((slot, trials.next()?)))
                .collect();
            left -= faulty.len();
            let logits = match faulty.is_empty() {
                true => None,
                false => Some(self.replay(execution, index, &faulty)?),
            };
            let unchanged = std::mem::take(&mut unchanged);
            let done = if left == 0 { std::mem::take(&mut done) } else { 0 };
            let before = self.queued.replace(QueuedRound { unchanged, faulty, logits, done });
            before.map_or(Ok(()), |round| self.judge(round))?;
            if left == 0 {
                return Ok(());
            }
        }
    }

    /// Queues a round of a layer: its faults, the replay, the way back of the logits.
    fn replay(
        &self,
        execution: &mut Execution,
        index: usize,
        faulty: &[(usize, Trial)],
    ) -> Result<Download> {
        let Network { model, weights } = self.campaign.experiment.network;
        let layer = &self.campaign.layers()[index];
        let trials: Vec<(usize, &Trial)> =
            faulty.iter().map(|(slot, trial)| (*slot, trial)).collect();
        self.campaign.arm(execution, layer, &trials)?;
        execution.replay_from(weights, layer.node)?;
        execution.disarm();
        // The next replay writes other logits to the same place of the device, behind this copy.
        execution.read_later(model.logits)
    }

    /// Waits for a round's logits and makes its records, in the order of its images.
    fn judge(&mut self, round: QueuedRound) -> Result<()> {
        let Rounds { campaign, tasks, .. } = *self;
        let Experiment { network, goldens, .. } = campaign.experiment;
        let classes = network.model.classes;
        let golden = |slot: usize| &goldens[tasks[slot].image];
        let logits = round.logits.map_or(Ok(Vec::new()), |logits| logits.wait::<f32>())?;
        let of_faulty = |(slot, _): &(usize, Trial)| {
            campaign.effect(golden(*slot), &logits[slot * classes..][..classes])
        };
        let unchanged = round.unchanged.iter().map(|(slot, _)| campaign.unchanged(golden(*slot)));
        let mut effects: Vec<Effect> = unchanged.collect();
        effects.par_extend(round.faulty.par_iter().map(of_faulty));
        let trials = round.unchanged.iter().chain(&round.faulty);
        for ((slot, trial), effect) in trials.zip(effects) {
            let golden = golden(*slot);
            let detectors = &campaign.plan().detectors;
            trial.records(detectors, golden.image, golden.score, effect, &mut self.records);
        }
        // An injection's records, which may be of several rounds, are handed on together.
        match round.done {
            0 => Ok(()),
            done => self.listener.hear(done, &mut self.records, false),
        }
    }

    /// Judges the last round, and hands on what is left.
    fn end(mut self) -> Result<()> {
        self.queued.take().map_or(Ok(()), |round| self.judge(round))?;
        self.listener.hear(0, &mut self.records, true)
    }
}
