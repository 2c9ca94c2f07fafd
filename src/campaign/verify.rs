//! Proof by repetition: injections run again without any of the campaign's shortcuts.

use super::setup::Campaign;
use crate::Result;
use crate::logits::hash as hash_logits;
use crate::results::Record;
use crate::rng::{self, Draw};

/// What [`Campaign::verify`] found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verification {
    /// Records that were run again.
    pub checked: usize,
    /// Those whose logits came out with other bits.
    pub different: Vec<Record>,
}

impl Campaign<'_> {
    /// Runs `count` seeded records again ([`Campaign::rerun`]). Bits of the logits must be those of the record.
    pub fn verify(&self, records: &[Record], count: usize) -> Result<Verification> {
        let order = rng::stream(self.plan().seed, "verify").permutation(records.len());
        let mut verification = Verification::default();
        for index in order.into_iter().take(count) {
            let record = &records[index];
            if hash_logits(&self.rerun(record)?.logits) != record.effect.hash {
                verification.different.push(*record);
            }
            verification.checked += 1;
        }
        Ok(verification)
    }
}
