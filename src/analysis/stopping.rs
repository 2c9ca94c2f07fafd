//! The looks of a stopping rule at a run's records, and how each layer ended.

use std::borrow::Borrow;

use serde::Serialize;

use crate::detector::Detector;
use crate::results::{Measure, Record, Run};
use crate::statistics::{Look, StoppingRule};

/// The looks that records of one layer and one detector give, in the order of their numbers; up to and
/// with the one that is narrow enough.
pub fn looks(rule: &StoppingRule, records: impl Iterator<Item = impl Borrow<Record>>) -> Vec<Look> {
    let measure = Measure::from(rule.target);
    let mut sequence = rule.sequence();
    let mut looks = Vec::new();
    for record in records {
        if let Some(look) = sequence.push(measure.of(record.borrow())) {
            looks.push(look);
            if look.stop {
                break;
            }
        }
    }
    looks
}

/// How a layer of a run ended under its plan's rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stopped {
    pub layer: String,
    pub detector: Detector,
    /// The last look; not narrow enough where the plan's injections ran out, or under another detector.
    pub look: Look,
}

/// How each layer of a run ended under each detector; nothing where its plan has no rule.
pub fn stopped(run: &Run) -> Vec<Stopped> {
    let Some(rule) = &run.manifest.plan.until else { return Vec::new() };
    let measure = Measure::from(rule.target);
    let mut all = Vec::new();
    for detector in &run.manifest.plan.detectors {
        for (index, layer) in run.manifest.layers.iter().enumerate() {
            let mut sequence = rule.sequence();
            let looks = run.of(index, *detector).filter_map(|r| sequence.push(measure.of(r)));
            let (layer, detector) = (layer.name.clone(), *detector);
            all.extend(looks.last().map(|look| Stopped { layer, detector, look }));
        }
    }
    all
}
