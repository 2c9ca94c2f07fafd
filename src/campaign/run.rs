//! Running a campaign: all of it, or what of a part isn't done yet.

use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use super::rounds;
use super::scheduler::Strategy;
use super::setup::Campaign;
use super::tasks::Ending;
use super::trial::InjectionId;
use crate::Result;
use crate::progress::Progress;
use crate::results::{Record, Sink, Work};

impl Campaign<'_> {
    /// Runs every injection; records are sorted by layer, number and detector.
    ///
    /// # Errors
    /// What loading or running says; golden logits that aren't those of the evaluation.
    pub fn run(&self, strategy: Strategy, progress: &dyn Progress) -> Result<Vec<Record>> {
        Ok(self.run_until(strategy, progress, &AtomicBool::new(false))?.0)
    }

    /// As [`Campaign::run`], until `stop` says otherwise.
    ///
    /// # Errors
    /// As [`Campaign::run`].
    pub fn run_until(
        &self,
        strategy: Strategy,
        progress: &dyn Progress,
        stop: &AtomicBool,
    ) -> Result<(Vec<Record>, Ending)> {
        let records = Mutex::new(Vec::new());
        let ending = self.run_part(strategy, &Work::whole(), &records, progress, stop)?;
        let mut records = records.into_inner().unwrap_or_else(PoisonError::into_inner);
        records.sort_by_key(|record| (record.layer, record.n, record.detector));
        Ok((records, ending))
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
        if let Some(rule) = &self.plan().until {
            return rounds::run(self, rule, strategy, work, sink, progress, stop);
        }
        let of_layer = |layer| self.numbers(layer).map(move |n| InjectionId { layer, n });
        let injections = (0..self.layers().len()).flat_map(of_layer);
        self.run_injections(injections, strategy, work, sink, progress, stop)
    }
}
