//! Training and evaluation.
//!
//! A [`Job`] says what is trained, a [`Trainer`] does it: the weights after any step are a function
//! of the job and the device alone, whatever the number of threads and however often the run was
//! stopped and resumed.

mod average;
mod difference;
mod evaluate;
mod events;
mod faults;
mod freeze;
mod job;
mod metrics;
mod outline;
mod output;
mod replay_check;
mod run_log;
mod snapshot;
mod step;
mod summary;
mod trainer;

pub use difference::{RunsCompared, compare_runs};
pub use evaluate::{Answer, Evaluation, Evaluator};
pub use faults::{BatchPlace, DrawnFlips, FlipCounts, FlipDraws};
pub use job::{Job, Source};
pub use outline::{hint_of_few_steps, recipe_words};
pub use output::{Output, RunLock};
pub use run_log::EpochListener;
pub use step::StepFigures;
pub use summary::EpochRecord;
pub use trainer::Trainer;

use crate::{Error, Result};

/// Labels are indices into the logits: none may lie beyond.
fn check_labels(labels: &[u32], classes: usize) -> Result<()> {
    match labels.iter().find(|label| **label as usize >= classes) {
        None => Ok(()),
        Some(label) => {
            let detail = format!("an image has label {label}, but the model has {classes} classes");
            Err(Error::usage(detail))
        }
    }
}
