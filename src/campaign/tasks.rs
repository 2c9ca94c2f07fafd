//! What threads work on, and how they tell what came of it.

use std::sync::atomic::{AtomicBool, Ordering};

use super::trial::InjectionId;
use crate::Result;
use crate::progress::Progress;
use crate::results::{Record, Sink};

/// Records that are handed on together.
const RECORD_BATCH: usize = 64;

/// How a run ended, if not by an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Complete,
    /// It was told to stop; what was run is in the sink.
    Stopped,
}

/// Injections into one image.
pub(super) struct ImageTask {
    /// Place in the image list.
    pub image: usize,
    /// In the order of layers.
    pub injections: Vec<InjectionId>,
}

/// Sends records and progress to the caller.
pub(super) struct Listener<'l> {
    pub sink: &'l dyn Sink,
    pub progress: &'l dyn Progress,
    pub stop: &'l AtomicBool,
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
        if !records.is_empty() && (end || records.len() >= RECORD_BATCH) {
            self.sink.take(records)?;
            records.clear();
        }
        Ok(())
    }
}
