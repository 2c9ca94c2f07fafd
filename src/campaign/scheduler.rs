//! Which injections run together: in which order, on which threads, in which batches.
//!
//! Two strategies give the same records. [`Strategy::Boxes`] (CPU) is the sparse replay: one image at a time,
//! and only the boxes that a fault reaches; images are spread over threads. [`Strategy::Whole`] (any device)
//! runs batches, one fault an image, whole nodes from the faulty one on. Records don't depend on strategy,
//! threads, batches or order.

use std::sync::atomic::AtomicBool;

use super::setup::Campaign;
use super::sparse::Pool;
use super::tasks::{Ending, Listener, Task};
use super::trial::Job;
use super::whole;
use crate::Result;
use crate::progress::Progress;
use crate::results::{Sink, Work};

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

impl Campaign<'_> {
    /// Boxes on the CPU, batches of 32 elsewhere.
    pub fn best_strategy(&self) -> Strategy {
        let is_cpu = self.experiment.network.device().is_cpu();
        if is_cpu { Strategy::Boxes } else { Strategy::Whole { batch: 32 } }
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
            Strategy::Whole { batch } => whole::run(self, tasks, batch, &listener)?,
        }
        progress.end();
        Ok(if listener.is_stopped() { Ending::Stopped } else { Ending::Complete })
    }

    /// Those of `jobs` that are of the part and not done, grouped by image, at most `limit` a task; and how
    /// many are done.
    fn tasks(
        &self,
        jobs: impl Iterator<Item = Job>,
        work: &Work,
        limit: usize,
    ) -> (Vec<Task>, u64) {
        let mut by_image: Vec<Vec<Job>> = vec![Vec::new(); self.experiment.goldens.len()];
        let mut done = 0;
        for job in jobs.filter(|job| work.shard.holds(job.n)) {
            if work.done.contains(&(job.layer, job.n)) {
                done += 1;
            } else {
                by_image[self.image_of(job)].push(job);
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
}
