//! The looks of a stopping rule at a run's records, how each layer ended, and what that does to figures.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;

use crate::detector::Detector;
use crate::results::{Measure, Record, Run};
use crate::rng;
use crate::statistics::{Boundary, EffectiveRate, Look, StoppingRule, Target};

/// The looks that records of one layer, of which there may be `most`, and one detector give, in the order of
/// their numbers; up to and with the one that is narrow enough.
pub fn looks(
    rule: &StoppingRule,
    most: u64,
    records: impl Iterator<Item = impl Borrow<Record>>,
) -> Vec<Look> {
    let measure = Measure::from(rule.target);
    let mut sequence = rule.sequence(most);
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
            let mut sequence = rule.sequence(run.manifest.plan.injections.end);
            let looks = run.of(index, *detector).filter_map(|r| sequence.push(measure.of(r)));
            let (layer, detector) = (layer.name.clone(), *detector);
            all.extend(looks.last().map(|look| Stopped { layer, detector, look }));
        }
    }
    all
}

/// Whether figures over several layers of a run are those of layers that a rule stopped.
pub(super) fn stops(run: &Run) -> bool {
    run.manifest.plan.until.is_some()
}

/// What the reader of a stopped run's figures must know of their intervals; nothing of other runs.
pub fn stopped_words(run: &Run) -> Option<String> {
    let rule = run.manifest.plan.until.as_ref()?;
    let known = match rule.target {
        Target::DeltaP => "No figure over several layers has an interval".into(),
        target => format!(
            "Over several layers only {} has an interval, and an estimate that stops don't shift (Girshick, \
             Mosteller and Savage, 1946); the others have none",
            target.name()
        ),
    };
    Some(format!("{known}: a layer that stops early is one whose first injections looked calm."))
}

/// The watched rate of each of `layers` under a detector, without the bias that a stop brings; `None` where
/// the run's rule doesn't watch `measure`, or that isn't a rate.
pub(super) fn unbiased_rates(
    run: &Run,
    layers: &[usize],
    detector: Detector,
    measure: Measure,
) -> Option<Vec<EffectiveRate>> {
    let plan = &run.manifest.plan;
    let rule = plan.until.as_ref()?;
    if Measure::from(rule.target) != measure || !measure.is_rate() {
        return None;
    }
    let sequence = plan.detectors.iter().position(|of| *of == detector)?;
    let boundary = Boundary::new(rule, plan.injections.end);
    let of_layer = |layer: &usize| {
        let mut kinds: BTreeMap<u64, usize> = BTreeMap::new();
        for (place, detector) in plan.detectors.iter().enumerate() {
            for record in run.of(*layer, *detector) {
                let event = usize::from(measure.of(record) > 0.0);
                *kinds.entry(record.n).or_default() |= event << place;
            }
        }
        let kinds: Vec<usize> = kinds.into_values().collect();
        // One stream a layer, whatever is asked for: its detectors and weightings agree.
        let key = &run.manifest.layers[*layer].name;
        let mut draws = rng::stream(plan.seed, &format!("orders {key}"));
        boundary.rates(plan.detectors.len(), &kinds, &mut draws)[sequence]
    };
    Some(layers.par_iter().map(of_layer).collect())
}
