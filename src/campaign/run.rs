//! Running a campaign: what is injected where, in which order, on which threads.
//!
//! Two strategies give the same records. [`Strategy::Boxes`] (CPU) runs one image at a time and
//! computes only the boxes that a fault reaches; images are spread over threads.
//! [`Strategy::Whole`] (any device) runs batches, one fault an image, whole nodes from the faulty
//! one on. Records don't depend on strategy, threads, batches or order.

use super::boxes::Pool;
use super::draw::Draws;
use super::golden::Golden;
use super::images::Images;
use super::layers::{Layer, layers};
use super::ranges::{Detector, Ranges};
use super::record::{Job, Plan, Record};
use crate::models::Model;
use crate::progress::Progress;
use crate::tape::{Weights, pair_name};
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
    /// One a layer; infinite where no detector asks for it.
    max: Vec<f32>,
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
        plan.check()?;
        if goldens.is_empty() {
            return Err(Error::usage("a campaign needs at least one image"));
        }
        let layers = chosen(layers(model), plan.layers.as_deref())?;
        let ranged = plan.detectors.contains(&Detector::Range);
        let max = layers
            .iter()
            .map(|layer| if ranged { ranges.of(layer) } else { Ok(f32::INFINITY) })
            .collect::<Result<_>>()?;
        Ok(Campaign { model, weights, images, goldens, graphs: true, plan, layers, max })
    }

    /// The layers that are injected into; records name them by their place here.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// What is injected.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The range of a layer.
    pub(super) fn max(&self, layer: usize) -> f32 {
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
        let total = self.layers.len() as u64 * self.plan.injections_per_layer();
        progress.begin("inject", "injections", 0, total);
        let advance = |count: usize| progress.advance(count as u64, "");
        let mut records = match strategy {
            Strategy::Boxes => Pool::new(self).run(self.tasks(TASK_JOBS), &advance)?,
            Strategy::Whole { batch } => {
                super::whole::run(self, self.tasks(usize::MAX), batch, &advance)?
            }
        };
        progress.end();
        records.sort_by_key(|record| (record.layer, record.n, record.detector));
        Ok(records)
    }

    /// The injections, grouped by image, at most `limit` a task.
    fn tasks(&self, limit: usize) -> Vec<Task> {
        let mut by_image: Vec<Vec<Job>> = vec![Vec::new(); self.goldens.len()];
        for (index, layer) in self.layers.iter().enumerate() {
            let images = self.goldens.len();
            let draws =
                Draws::new(self.plan.seed, &layer.pair_key, layer.map, images, self.plan.bits);
            for n in self.plan.injections.clone() {
                let fault = draws.get(n);
                by_image[fault.image].push(Job { layer: index, n, fault });
            }
        }
        let mut tasks = Vec::new();
        for (image, jobs) in by_image.into_iter().enumerate() {
            for jobs in jobs.chunks(limit) {
                tasks.push(Task { image, jobs: jobs.to_vec() });
            }
        }
        tasks
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

/// The layers of `all` that `names` ask for.
fn chosen(all: Vec<Layer>, names: Option<&[String]>) -> Result<Vec<Layer>> {
    let Some(names) = names else { return Ok(all) };
    for name in names {
        if !all.iter().any(|layer| is_called(layer, name)) {
            let known: Vec<&str> = all.iter().map(|layer| layer.name.as_str()).collect();
            return Err(Error::usage(format!(
                "the model has no layer '{name}'; its injectable layers are: {}",
                known.join(", ")
            )));
        }
    }
    Ok(all.into_iter().filter(|layer| names.iter().any(|name| is_called(layer, name))).collect())
}

fn is_called(layer: &Layer, name: &str) -> bool {
    layer.name == name || pair_name(&layer.name) == name
}
