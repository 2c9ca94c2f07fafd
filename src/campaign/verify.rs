//! Proof by repetition: injections run again without any of the campaign's shortcuts.

use super::experiment::Experiment;
use super::images::load_batch;
use super::setup::Campaign;
use super::trial::{InjectionId, Trial};
use crate::logits::hash as hash_logits;
use crate::results::Record;
use crate::rng::{self, Draw};
use crate::tape::PlanKind;
use crate::{Error, Result};

/// What [`Campaign::verify`] found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verification {
    /// Records that were run again.
    pub checked: usize,
    /// Those whose logits came out with other bits.
    pub different: Vec<Record>,
}

impl Campaign<'_> {
    /// Runs `count` seeded records again: a fresh execution, one image, the fault drawn and armed anew, the
    /// whole network. Bits of the logits must be those of the record.
    pub fn verify(&self, records: &[Record], count: usize) -> Result<Verification> {
        let order = rng::stream(self.plan().seed, "verify").permutation(records.len());
        let mut verification = Verification::default();
        for index in order.into_iter().take(count) {
            let record = &records[index];
            if self.whole_hash(record)? != record.effect.hash {
                verification.different.push(*record);
            }
            verification.checked += 1;
        }
        Ok(verification)
    }

    fn whole_hash(&self, record: &Record) -> Result<u64> {
        let Experiment { network, images, .. } = self.experiment;
        let model = &network.model;
        let Some(layer) = self.layers().get(record.layer) else {
            return Err(Error::usage("the record is of another campaign: its layer isn't here"));
        };
        let injection = InjectionId { layer: record.layer, n: record.n };
        let fault = self.fault(injection)?;
        // Faults in memory, and golden values, need a plan that keeps every value.
        let outputs = [model.logits];
        let mut execution = network.execution(PlanKind::Golden, 1, &outputs)?;
        let (pixels, _) = load_batch(model, *images, &[record.image])?;
        execution.begin(1)?;
        execution.write(model.image, &pixels)?;
        let hit = self.hit_node(layer, fault.site);
        let values = match hit {
            Some(node) => {
                execution.forward(&network.weights)?;
                Some(execution.read(node)?)
            }
            None => None,
        };
        let detectors = [record.detector];
        let trials = Trial::of(injection, &fault, self.max(record.layer), &detectors, |entry| {
            self.golden_bits(layer, hit, entry, values.as_deref())
        });
        // Fused launches where the plan allows it, so that another path gives the same bits.
        if fault.site.class() != crate::fault::SiteClass::Memory {
            execution = network.execution(PlanKind::Infer, 1, &outputs)?;
            execution.begin(1)?;
            execution.write(model.image, &pixels)?;
        }
        for trial in trials.iter().filter(|trial| !trial.entries.is_empty()) {
            self.arm(&mut execution, layer, &[(0, trial)])?;
        }
        execution.forward(&network.weights)?;
        Ok(hash_logits(&execution.read(model.logits)?))
    }
}
