//! Injections run again, one by one, without any of the campaign's shortcuts.

use super::experiment::Experiment;
use super::images::load_batch;
use super::setup::Campaign;
use super::trial::{InjectionId, Trial, hit};
use crate::fault::SiteClass;
use crate::number::canonical;
use crate::results::{HitElement, Record};
use crate::tape::PlanKind;
use crate::{Error, Result};

/// An injection that was run again.
#[derive(Clone, Debug, PartialEq)]
pub struct Rerun {
    pub logits: Vec<f32>,
    /// The values that it hit, several where a record has the place of none.
    pub places: Vec<HitElement>,
}

impl Campaign<'_> {
    /// Runs a record's injection under its detector again: a fresh execution, one image, the fault drawn and armed
    /// anew, the whole network.
    ///
    /// # Errors
    /// A record of another campaign; what loading or running says.
    pub fn rerun(&self, record: &Record) -> Result<Rerun> {
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
        let node = self.hit_node(layer, fault.site);
        let values = match node {
            Some(node) => {
                execution.forward(&network.weights)?;
                Some(execution.read(node)?)
            }
            None => None,
        };
        let max = self.max(record.layer);
        let before = |entry: &_| self.golden_bits(layer, node, entry, values.as_deref());
        let trials = Trial::of(injection, &fault, max, &[record.detector], before);
        // Fused launches where the plan allows it, so that another path gives the same bits.
        if fault.site.class() != SiteClass::Memory {
            execution = network.execution(PlanKind::Infer, 1, &outputs)?;
            execution.begin(1)?;
            execution.write(model.image, &pixels)?;
        }
        for trial in trials.iter().filter(|trial| !trial.entries.is_empty()) {
            self.arm(&mut execution, layer, &[(0, trial)])?;
        }
        execution.forward(&network.weights)?;
        let place = |entry| hit(entry, before(entry).map(canonical), record.detector, max);
        Ok(Rerun {
            logits: execution.read(model.logits)?,
            places: fault.entries.iter().map(place).collect(),
        })
    }
}
