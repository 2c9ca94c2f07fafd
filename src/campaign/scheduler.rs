//! Which injections run together: in which order, on which threads, in which batches.
//!
//! Two strategies give the same records. [`Strategy::Boxes`] (CPU) is the sparse replay: one image at a time,
//! and only the boxes that a fault reaches; images are spread over threads. [`Strategy::Whole`] (any device)
//! runs batches, one fault an image, whole nodes from the faulty one on. Records don't depend on strategy,
//! threads, batches or order.

use std::sync::atomic::AtomicBool;

use super::setup::Campaign;
use super::sparse::Pool;
use super::tasks::{Ending, ImageTask, Listener};
use super::trial::InjectionId;
use super::whole;
use crate::Result;
use crate::progress::Progress;
use crate::results::{Sink, Work};
use crate::rng::{self, Draw};

/// How injections are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Sparse replay: one image at a time, only the boxes that a fault reaches, on every thread of the current
    /// rayon pool; CPU only.
    Boxes,
    /// Batches of so many images, one fault an image, whole nodes.
    Whole { batch: usize },
}

/// The most injections of one task; a task runs its image fault-free first.
const TASK_INJECTIONS: usize = 512;

impl Campaign<'_> {
    /// Sparse replay on the CPU, batches of 32 elsewhere.
    pub fn best_strategy(&self) -> Strategy {
        let is_cpu = self.experiment.network.device().is_cpu();
        if is_cpu { Strategy::Boxes } else { Strategy::Whole { batch: 32 } }
    }

    /// Runs those of `injections` that are of the part and not done.
    pub(super) fn run_injections(
        &self,
        injections: impl Iterator<Item = InjectionId>,
        strategy: Strategy,
        work: &Work,
        sink: &dyn Sink,
        progress: &dyn Progress,
        stop: &AtomicBool,
    ) -> Result<Ending> {
        let limit = if strategy == Strategy::Boxes { TASK_INJECTIONS } else { usize::MAX };
        let (tasks, done) = self.tasks(injections, work, limit);
        let left: u64 = tasks.iter().map(|task| task.injections.len() as u64).sum();
        progress.begin("inject", "injections", done, done + left);
        let listener = Listener { sink, progress, stop };
        match strategy {
            Strategy::Boxes => Pool::new(self)?.run(tasks, &listener)?,
            Strategy::Whole { batch } => whole::run(self, tasks, batch, &listener)?,
        }
        progress.end();
        Ok(if listener.is_stopped() { Ending::Stopped } else { Ending::Complete })
    }

    /// Those of `injections` that are of the part and not done, grouped by image, at most `limit` a task; and how
    /// many are done.
    fn tasks(
        &self,
        injections: impl Iterator<Item = InjectionId>,
        work: &Work,
        limit: usize,
    ) -> (Vec<ImageTask>, u64) {
        let mut by_image: Vec<Vec<InjectionId>> = vec![Vec::new(); self.experiment.goldens.len()];
        let mut done = 0;
        for injection in injections.filter(|injection| work.shard.holds(injection.n)) {
            if work.done.contains(&(injection.layer, injection.n)) {
                done += 1;
            } else {
                by_image[self.image_of(injection)].push(injection);
            }
        }
        // In an order drawn at random, so that the images that are done at some moment are a sample of all.
        let order = rng::stream(self.plan().seed, "order of images").permutation(by_image.len());
        let mut tasks = Vec::new();
        for image in order {
            for injections in by_image[image].chunks(limit) {
                tasks.push(ImageTask { image, injections: injections.to_vec() });
            }
        }
        (tasks, done)
    }
}
