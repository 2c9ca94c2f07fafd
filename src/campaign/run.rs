//! Running a campaign: what is injected where, in which order, on which threads.
//!
//! Two strategies give the same records. [`Strategy::Boxes`] (CPU) runs one image at a time and
//! computes only the boxes that a fault reaches; images are spread over threads.
//! [`Strategy::Whole`] (any device) runs batches, one fault an image, whole nodes from the faulty
//! one on. Records don't depend on strategy, threads, batches or order.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::boxes::Pool;
use super::draw::{Draws, Space};
use super::golden::Golden;
use super::goldeneye;
use super::images::Images;
use super::layers::{self, Layer};
use super::list::{FaultList, Listed};
use super::outcome::Effect;
use super::plan::{Plan, Protocol, Shard};
use super::ranges::{Detector, Ranges};
use super::record::{Fault, Job, Record, Shot};
use super::rounds::{self, Watched};
use crate::fault::{BitMasks, FaultEntry, Format, Site};
use crate::models::Model;
use crate::progress::Progress;
use crate::tape::{Execution, NodeId, Weights};
use crate::{Error, Result};

/// How injections are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// One image at a time, boxes, on every thread of the current rayon pool; CPU only.
    Boxes,
    /// Batches of so many images, whole nodes.
    Whole { batch: usize },
}

/// The most injections of one task; a task runs its image fault-free first.
const TASK_JOBS: usize = 512;

/// Records that are handed on together.
const HANDFUL: usize = 64;

/// Takes records as they come, in any order, from any thread; all records of an injection at once.
pub trait Sink: Sync {
    /// Keeps `records`.
    fn take(&self, records: &[Record]) -> Result<()>;
}

impl Sink for Mutex<Vec<Record>> {
    fn take(&self, records: &[Record]) -> Result<()> {
        self.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(records);
        Ok(())
    }
}

/// What of a campaign is to be run.
#[derive(Clone, Debug)]
pub struct Work {
    pub shard: Shard,
    /// Injections (layer, number) that are there already.
    pub done: HashSet<(usize, u64)>,
    /// Of those, what the plan's rule watches, if it has one.
    pub watched: Watched,
}

impl Work {
    /// All of it.
    pub fn whole() -> Work {
        Work { shard: Shard::WHOLE, done: HashSet::new(), watched: Watched::default() }
    }
}

/// How a run ended, if not by an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Complete,
    /// It was told to stop; what was run is in the sink.
    Stopped,
}

/// A campaign over one model.
pub struct Campaign<'a> {
    pub(super) model: &'a Model,
    pub(super) weights: &'a Weights,
    pub(super) images: &'a dyn Images,
    pub(super) goldens: &'a [Golden],
    /// Whether a device other than the CPU captures each layer's replay once and then runs the graph;
    /// on from the start. Records don't depend on it.
    pub graphs: bool,
    plan: Plan,
    layers: Vec<Layer>,
    /// One a layer.
    faults: Vec<Faults>,
    /// One a layer; infinite where no detector asks for it.
    max: Vec<f32>,
}

/// The faults of one layer.
enum Faults {
    Drawn { draws: Box<Draws>, format: Format },
    Listed(Vec<Listed>),
}

impl Faults {
    fn image(&self, n: u64) -> usize {
        match self {
            Faults::Drawn { draws, .. } => draws.image(n),
            Faults::Listed(rows) => row(rows, n).map_or(0, |row| row.image),
        }
    }
}

/// Rows are in the order of their numbers.
fn row(rows: &[Listed], n: u64) -> Option<&Listed> {
    rows.binary_search_by_key(&n, |row| row.n).ok().map(|at| &rows[at])
}

/// Injections into one image.
pub(super) struct Task {
    /// Place in the image list.
    pub image: usize,
    /// In the order of layers.
    pub jobs: Vec<Job>,
}

impl<'a> Campaign<'a> {
    /// A campaign over the images of `goldens` ([`super::golden::evaluate`]'s answers of the same
    /// model and weights). `ranges` are needed by [`Detector::Range`] only.
    ///
    /// # Errors
    /// A plan that makes no sense, a layer that the model doesn't have, a range that is missing.
    pub fn new(
        model: &'a Model,
        weights: &'a Weights,
        images: &'a dyn Images,
        goldens: &'a [Golden],
        ranges: &Ranges,
        plan: Plan,
    ) -> Result<Self> {
        let all = layers::of_plan(model, &plan);
        let layers = match (plan.protocol, plan.layers.as_deref()) {
            // Hooks see layers that all images share like any other.
            (Protocol::Goldeneye, None) => all,
            (_, patterns) => layers::choose(all, patterns)?,
        };
        if layers.is_empty() {
            return Err(Error::usage(format!("no layer has the site {}", plan.site.name())));
        }
        let compute = weights.device().compute();
        let draws = |layer: &Layer| {
            let (space, format) = space_of(model, layer, plan.site, compute);
            Faults::Drawn {
                draws: Box::new(Draws::new(&plan, &layer.pair_key, space, goldens.len())),
                format,
            }
        };
        let faults = layers.iter().map(draws).collect();
        Campaign::with(model, weights, images, goldens, ranges, plan, layers, faults)
    }

    /// A campaign over the faults of a list, which names images by their numbers: each of them must be
    /// among `goldens`. What the plan says of drawing has no effect.
    ///
    /// # Errors
    /// Those of [`Campaign::new`]; the row of a fault that can't be put where it says.
    pub fn of_list(
        model: &'a Model,
        weights: &'a Weights,
        images: &'a dyn Images,
        goldens: &'a [Golden],
        ranges: &Ranges,
        plan: Plan,
        list: &FaultList,
    ) -> Result<Self> {
        let plan = Plan { list: Some(list.sha256.clone()), ..plan };
        let (layers, rows): (Vec<Layer>, Vec<_>) =
            list.place(model, goldens, weights.device().compute())?.into_iter().unzip();
        if plan.protocol == Protocol::Goldeneye {
            goldeneye::check_layers(model, &layers)?;
        }
        let faults = Vec::into_iter(rows).map(Faults::Listed).collect();
        Campaign::with(model, weights, images, goldens, ranges, plan, layers, faults)
    }

    #[allow(clippy::too_many_arguments)]
    fn with(
        model: &'a Model,
        weights: &'a Weights,
        images: &'a dyn Images,
        goldens: &'a [Golden],
        ranges: &Ranges,
        plan: Plan,
        layers: Vec<Layer>,
        faults: Vec<Faults>,
    ) -> Result<Self> {
        plan.check()?;
        if goldens.is_empty() {
            return Err(Error::usage("a campaign needs at least one image"));
        }
        let ranged = plan.detectors.contains(&Detector::Range);
        let max = layers.iter().map(|layer| match &layer.parameter {
            _ if !ranged => Ok(f32::INFINITY),
            Some(parameter) => Ok(greatest(&weights.get(parameter.id)?)),
            None if plan.protocol == Protocol::Goldeneye => ranges.of(layer).map(goldeneye::range),
            None => ranges.of(layer),
        });
        let max = max.collect::<Result<_>>()?;
        Ok(Campaign { model, weights, images, goldens, graphs: true, plan, layers, faults, max })
    }

    /// The layers that are injected into; records name them by their place here.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// What is injected.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The range that a detector holds a value of a layer to; infinite where none does.
    pub fn max(&self, layer: usize) -> f32 {
        self.max[layer]
    }

    /// Boxes on the CPU, batches of 32 elsewhere.
    pub fn best_strategy(&self) -> Strategy {
        if self.weights.device().is_cpu() { Strategy::Boxes } else { Strategy::Whole { batch: 32 } }
    }

    /// Runs every injection; records are sorted by layer, number and detector.
    ///
    /// # Errors
    /// What loading or running says; golden logits that aren't those of the evaluation.
    pub fn run(&self, strategy: Strategy, progress: &dyn Progress) -> Result<Vec<Record>> {
        let records = Mutex::new(Vec::new());
        let never = AtomicBool::new(false);
        self.run_part(strategy, &Work::whole(), &records, progress, &never)?;
        let mut records = records.into_inner().unwrap_or_else(PoisonError::into_inner);
        records.sort_by_key(|record| (record.layer, record.n, record.detector));
        Ok(records)
    }

    /// Runs what of a part isn't done, until `stop` says otherwise; `sink` gets the records, in no
    /// particular order.
    ///
    /// # Errors
    /// As [`Campaign::run`], and those of `sink`.
    pub fn run_part(
        &self,
        strategy: Strategy,
        work: &Work,
        sink: &dyn Sink,
        progress: &dyn Progress,
        stop: &AtomicBool,
    ) -> Result<Ending> {
        if let Some(rule) = &self.plan.until {
            return rounds::run(self, rule, strategy, work, sink, progress, stop);
        }
        let of_layer = |layer| self.numbers(layer).map(move |n| Job { layer, n });
        let jobs = (0..self.layers.len()).flat_map(of_layer);
        self.run_jobs(jobs, strategy, work, sink, progress, stop)
    }

    /// Runs those of `jobs` that are of the part and not done.
    pub(super) fn run_jobs(
        &self,
        jobs: impl Iterator<Item = Job>,
        strategy: Strategy,
        work: &Work,
        sink: &dyn Sink,
        progress: &dyn Progress,
        stop: &AtomicBool,
    ) -> Result<Ending> {
        let limit = if strategy == Strategy::Boxes { TASK_JOBS } else { usize::MAX };
        let (tasks, done) = self.tasks(jobs, work, limit);
        let left: u64 = tasks.iter().map(|task| task.jobs.len() as u64).sum();
        progress.begin("inject", "injections", done, done + left);
        let listener = Listener { sink, progress, stop };
        match strategy {
            Strategy::Boxes => Pool::new(self)?.run(tasks, &listener)?,
            Strategy::Whole { batch } => super::whole::run(self, tasks, batch, &listener)?,
        }
        progress.end();
        Ok(if listener.is_stopped() { Ending::Stopped } else { Ending::Complete })
    }

    /// Numbers of the injections of a layer; with a rule to stop at, of those that there may be.
    pub fn numbers(&self, layer: usize) -> impl Iterator<Item = u64> + '_ {
        let (range, rows) = match &self.faults[layer] {
            Faults::Drawn { .. } => (self.plan.injections.clone(), &[] as &[Listed]),
            Faults::Listed(rows) => (0..0, rows.as_slice()),
        };
        range.chain(rows.iter().map(|row| row.n))
    }

    /// Those of `jobs` that are of the part and not done, grouped by image, at most `limit` a task; and how
    /// many are done.
    fn tasks(
        &self,
        jobs: impl Iterator<Item = Job>,
        work: &Work,
        limit: usize,
    ) -> (Vec<Task>, u64) {
        let mut by_image: Vec<Vec<Job>> = vec![Vec::new(); self.goldens.len()];
        let mut done = 0;
        for job in jobs.filter(|job| work.shard.holds(job.n)) {
            if work.done.contains(&(job.layer, job.n)) {
                done += 1;
            } else {
                by_image[self.faults[job.layer].image(job.n)].push(job);
            }
        }
        let mut tasks = Vec::new();
        for (image, jobs) in by_image.into_iter().enumerate() {
            for jobs in jobs.chunks(limit) {
                tasks.push(Task { image, jobs: jobs.to_vec() });
            }
        }
        (tasks, done)
    }

    /// What a job injects.
    pub(super) fn fault(&self, job: Job) -> Result<Fault> {
        match &self.faults[job.layer] {
            Faults::Drawn { draws, format } => {
                let site = self.plan.site;
                let entry = |hit: super::draw::Hit| {
                    let masks = BitMasks::flip(hit.mask << format.shift());
                    let entry = FaultEntry::at(site, hit.element, hit.k, masks, 0);
                    FaultEntry { format: format.code(), ..entry }
                };
                let entries = draws.get(job.n).hits.into_iter().map(entry).collect();
                Ok(Fault { site, entries })
            }
            Faults::Listed(rows) => match row(rows, job.n) {
                Some(row) => Ok(row.fault.clone()),
                None => Err(Error::usage(format!("the list has no fault number {}", job.n))),
            },
        }
    }

    /// Whether a fault hits a value between nodes, for whose sake each of them is to be in memory.
    pub(crate) fn needs_every_value(&self) -> bool {
        let is_one = |site: Site| matches!(site, Site::Input | Site::StoreAstray);
        self.faults.iter().any(|faults| match faults {
            Faults::Drawn { .. } => is_one(self.plan.site),
            Faults::Listed(rows) => rows.iter().any(|row| is_one(row.fault.site)),
        })
    }

    /// The node whose golden values a fault at a site of a layer hits; `None` where they are inside a
    /// kernel or a parameter.
    pub(super) fn hit_node(&self, layer: &Layer, site: Site) -> Option<NodeId> {
        match site {
            Site::Output | Site::StoreLost => Some(layer.node),
            Site::Input => self.model.tape.node(layer.node).inputs.first().copied(),
            _ => None,
        }
    }

    /// The golden bits of what an entry hits: a parameter's, or among one image's `values` of node `hit`.
    pub(super) fn golden_bits(
        &self,
        layer: &Layer,
        hit: Option<NodeId>,
        entry: &FaultEntry,
        values: Option<&[f32]>,
    ) -> Option<u32> {
        if let Some(parameter) = &layer.parameter {
            return self.weights.bits(parameter.id, entry.element as usize).ok();
        }
        let map = self.model.tape.node(hit?).spec.map;
        let (channel, pixel) =
            (entry.element as usize / map.pixels(), entry.element as usize % map.pixels());
        values?.get(pixel * map.channels + channel).map(|value| value.to_bits())
    }

    /// The images of a batch of [`Strategy::Whole`] that asks for `batch`: no more than there are, and one
    /// where a layer's output is one for all images, which takes faults alone.
    pub fn capacity(&self, batch: usize) -> usize {
        let is_shared = |layer: &Layer| self.model.tape.node(layer.node).spec.shared;
        if self.layers.iter().any(is_shared) { 1 } else { batch.clamp(1, self.goldens.len()) }
    }

    /// Arms injections of a layer, each (image of the batch, number) whichever image it is drawn for: a
    /// round, to be timed.
    pub(crate) fn arm_round(
        &self,
        execution: &mut Execution,
        layer: usize,
        injections: impl Iterator<Item = (usize, u64)>,
    ) -> Result<()> {
        let mut shots = Vec::new();
        for (image, n) in injections {
            let job = Job { layer, n };
            let shot = Shot::of(job, &self.fault(job)?, f32::INFINITY, &[Detector::None], |_| None);
            shots.extend(shot.into_iter().map(|shot| (image, shot)));
        }
        let shots: Vec<(usize, &Shot)> = shots.iter().map(|(image, shot)| (*image, shot)).collect();
        self.arm(execution, &self.layers[layer], &shots)
    }

    /// Arms shots of one layer, each in its image of the batch.
    pub(super) fn arm(
        &self,
        execution: &mut Execution,
        layer: &Layer,
        shots: &[(usize, &Shot)],
    ) -> Result<()> {
        if let Some(parameter) = &layer.parameter {
            for (image, shot) in shots {
                for entry in &shot.entries {
                    let (index, masks) = (entry.element as usize, entry.masks());
                    execution.arm_parameter(self.weights, parameter.id, *image, index, masks)?;
                }
            }
            return Ok(());
        }
        let entries: Vec<(usize, FaultEntry)> = shots
            .iter()
            .flat_map(|(image, shot)| shot.entries.iter().map(|entry| (*image, *entry)))
            .collect();
        let table = execution.table_of(layer.node, &entries)?;
        execution.arm(layer.node, table)
    }

    /// What the `faulty` logits of an image are, by the plan's protocol.
    pub(super) fn effect(&self, golden: &Golden, faulty: &[f32]) -> Effect {
        let mut effect = Effect::of(golden, faulty);
        if self.plan.protocol == Protocol::Goldeneye {
            effect.judged.loss = goldeneye::loss(faulty, golden.label);
        }
        effect
    }

    /// Says that a golden run gave other bits than the evaluation.
    pub(super) fn check_golden(&self, image: usize, logits: &[f32]) -> Result<()> {
        let golden = &self.goldens[image];
        if super::outcome::hash_logits(logits) == golden.hash {
            return Ok(());
        }
        Err(Error::usage(format!(
            "image {}: the golden run's logits differ from the evaluation's in bits: the answers \
             are of other weights, images or another device",
            golden.image
        )))
    }
}

/// Who hears of records.
pub(super) struct Listener<'l> {
    sink: &'l dyn Sink,
    progress: &'l dyn Progress,
    stop: &'l AtomicBool,
}

impl Listener<'_> {
    /// Whether the run is to stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Hears of `count` injections more, and takes their records when there are enough of them, or at the
    /// `end`.
    pub fn hear(&self, count: usize, records: &mut Vec<Record>, end: bool) -> Result<()> {
        if count > 0 {
            self.progress.advance(count as u64, "");
        }
        if !records.is_empty() && (end || records.len() >= HANDFUL) {
            self.sink.take(records)?;
            records.clear();
        }
        Ok(())
    }
}

/// Where faults at a site of a layer can lie, and the format of what they hit.
fn space_of(
    model: &Model,
    layer: &Layer,
    site: Site,
    compute: crate::device::Compute,
) -> (Space, Format) {
    if let Some(parameter) = &layer.parameter {
        return (Space::of_parameter(parameter.elements()), Format::Fp32);
    }
    let tape = &model.tape;
    let inputs = tape.input_specs(layer.node);
    let map = if site == Site::Input { inputs[0].map } else { layer.map };
    let op = tape.node(layer.node).op.as_ref();
    let format = match site {
        Site::OperandA | Site::OperandB | Site::SharedA | Site::SharedB => {
            op.and_then(|op| op.variant(&inputs, compute)).map_or(Format::Fp32, |v| v.operands)
        }
        _ => Format::Fp32,
    };
    let space = match op.and_then(|op| op.site_space(site, &inputs)) {
        Some(space) => Space::of_site(space, map, format.bits()),
        None => Space::of_map(map),
    };
    (space, format)
}

/// The greatest finite absolute value.
fn greatest(values: &[f32]) -> f32 {
    values.iter().map(|value| value.abs()).filter(|value| value.is_finite()).fold(0.0, f32::max)
}
