//! What of a campaign is to be run, and where its records go.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use super::measure::Measure;
use super::record::Record;
use crate::detector::Detector;
use crate::plan::{Plan, Shard};
use crate::{Error, Result};

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

/// What a plan's rule watches of injections that are done, whatever their order.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    values: HashMap<(usize, u64, Detector), f64>,
}

impl Watched {
    /// What the rule of `plan` watches of `records`; nothing where it has none.
    pub fn of(plan: &Plan, records: &[Record]) -> Watched {
        let mut watched = Watched::default();
        if let Some(rule) = &plan.until {
            watched.add(rule.target.into(), records);
        }
        watched
    }

    /// Notes what `measure` says of `records`.
    pub fn add(&mut self, measure: Measure, records: &[Record]) {
        let key = |record: &Record| (record.layer, record.n, record.detector);
        self.values.extend(records.iter().map(|record| (key(record), measure.of(record))));
    }

    /// The watched value of an injection, which is removed.
    pub fn take(&mut self, layer: usize, n: u64, detector: Detector) -> Result<f64> {
        self.values.remove(&(layer, n, detector)).ok_or_else(|| {
            Error::usage(format!(
                "injection {n} of layer {layer} is said to be done, but not what came of it"
            ))
        })
    }
}
