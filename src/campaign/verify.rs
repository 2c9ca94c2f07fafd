//! Proof by repetition: injections run again without any of the campaign's shortcuts.

use super::outcome::hash_logits;
use super::record::Record;
use super::run::Campaign;
use crate::fault::{FaultEntry, FaultTable};
use crate::rng::{self, Draw};
use crate::tape::{Execution, PlanKind};
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
    /// Runs `count` seeded records again: a fresh execution that shares buffers, one image, the
    /// whole network with the fault armed. Bits of the logits must be those of the record.
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
        let Campaign { model, weights, images, .. } = self;
        let Some(layer) = self.layers().get(record.layer) else {
            return Err(Error::usage("the record is of another campaign: its layer isn't here"));
        };
        let outputs = [model.logits];
        let mut execution =
            Execution::new(&model.tape, weights.device(), PlanKind::Infer, 1, &outputs)?;
        let mut pixels = vec![0f32; model.tape.node(model.image).spec.map.elements()];
        images.load(record.image, &mut pixels)?;
        let element = layer.map.pytorch_index(record.channel, record.row, record.column);
        let entry = FaultEntry::output(element, record.masks(), 0);
        execution.begin(1)?;
        execution.write(model.image, &pixels)?;
        execution.arm(layer.node, FaultTable::new(&layer.name, 1, layer.map, &[(0, entry)])?)?;
        execution.forward(weights)?;
        Ok(hash_logits(&execution.read(model.logits)?))
    }
}
