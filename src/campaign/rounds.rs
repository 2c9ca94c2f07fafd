//! A campaign whose layers stop one by one, as the plan's rule says.
//!
//! A round runs every layer that goes on up to the next look, which is at the same number in all of them; the
//! last is at the most that the plan allows. A
//! layer stops at the first look at which the interval is narrow under each detector. So which injections are
//! run follows from their records alone: threads, batches and interruptions leave no trace.

use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use super::scheduler::Strategy;
use super::setup::Campaign;
use super::tasks::Ending;
use super::trial::InjectionId;
use crate::plan::Shard;
use crate::progress::Progress;
use crate::results::{Measure, Record, Sink, Watched, Work};
use crate::statistics::{Sequence, StoppingRule};
use crate::{Error, Result};

/// Hands records on and keeps what the rule watches.
struct Watching<'w> {
    sink: &'w dyn Sink,
    measure: Measure,
    watched: Mutex<Watched>,
}

impl Sink for Watching<'_> {
    fn take(&self, records: &[Record]) -> Result<()> {
        self.sink.take(records)?;
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).add(self.measure, records);
        Ok(())
    }
}

/// Runs rounds until every layer has stopped, or has all of the plan's injections.
pub(super) fn run(
    campaign: &Campaign<'_>,
    rule: &StoppingRule,
    strategy: Strategy,
    work: &Work,
    sink: &dyn Sink,
    progress: &dyn Progress,
    stop: &AtomicBool,
) -> Result<Ending> {
    if work.shard != Shard::WHOLE {
        return Err(Error::usage(format!(
            "shard {} of a campaign with a half-width to stop at: a part doesn't know when the whole is enough",
            work.shard
        )));
    }
    let detectors = &campaign.plan().detectors;
    let measure = Measure::from(rule.target);
    let watching = Watching { sink, measure, watched: Mutex::new(work.watched.clone()) };
    let layers = campaign.layers().len();
    let most = campaign.plan().injections.end;
    let mut running: Vec<(usize, Vec<Sequence>)> =
        (0..layers).map(|layer| (layer, vec![rule.sequence(most); detectors.len()])).collect();
    let mut from = 0;
    for to in rule.looks_within(most) {
        let injections = running
            .iter()
            .flat_map(|(layer, _)| (from..to).map(|n| InjectionId { layer: *layer, n }));
        let ending =
            campaign.run_injections(injections, strategy, work, &watching, progress, stop)?;
        if ending == Ending::Stopped {
            return Ok(ending);
        }
        let mut watched = watching.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let mut going_on = Vec::new();
        for (layer, mut sequences) in running {
            let mut stops = true;
            for (sequence, detector) in sequences.iter_mut().zip(detectors) {
                for n in from..to {
                    let look = sequence.push(watched.take(layer, n, *detector)?);
                    stops &= look.is_none_or(|look| look.stop);
                }
            }
            if !stops {
                going_on.push((layer, sequences));
            }
        }
        running = going_on;
        from = to;
        progress
            .line(&format!("{to} injections a layer: {} of {layers} layers go on", running.len()));
        if running.is_empty() {
            break;
        }
    }
    Ok(Ending::Complete)
}
