//! What a campaign is asked to do, and one row of what it found.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::draw::{Drawn, MAX_BITS};
use super::golden::Judged;
use super::outcome::Effect;
use super::ranges::Detector;
use crate::fault::{BitMasks, Site};
use crate::{Error, Result};

/// What to inject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub seed: u64,
    /// Numbers of the injections of each layer: `0..n` for a whole campaign, a part of it for a
    /// shard, `n..n + 1` to look at one alone.
    pub injections: Range<u64>,
    /// Distinct bits of a fault, up to [`MAX_BITS`]; 0 is a rehearsal without faults.
    pub bits: usize,
    /// Each injection is judged under each of these.
    pub detectors: Vec<Detector>,
    /// Names of the layers (with or without `backbone.`); all of them if `None`.
    pub layers: Option<Vec<String>>,
}

impl Plan {
    /// `injections` single-bit faults a layer, under both detectors.
    pub fn new(seed: u64, injections: u64) -> Plan {
        Plan {
            seed,
            injections: 0..injections,
            bits: 1,
            detectors: vec![Detector::None, Detector::Range],
            layers: None,
        }
    }

    /// Refuses what can't be run.
    pub fn check(&self) -> Result<()> {
        if self.bits > MAX_BITS {
            let bits = self.bits;
            return Err(Error::usage(format!("a fault flips up to {MAX_BITS} bits, not {bits}")));
        }
        if self.injections.is_empty() {
            return Err(Error::usage("a campaign needs at least one injection a layer"));
        }
        let mut sorted = self.detectors.clone();
        sorted.sort();
        sorted.dedup();
        if sorted.is_empty() || sorted.len() != self.detectors.len() {
            return Err(Error::usage("a campaign needs one detector at least, none of them twice"));
        }
        Ok(())
    }

    /// Injections a layer.
    pub fn injections_per_layer(&self) -> u64 {
        self.injections.end - self.injections.start
    }
}

/// One injection, under one detector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record {
    /// Index into the campaign's layers.
    pub layer: usize,
    pub site: Site,
    /// Number of the injection within the layer.
    pub n: u64,
    pub detector: Detector,
    /// Index of the image among the evaluation images.
    pub image: usize,
    pub channel: usize,
    pub row: usize,
    pub column: usize,
    /// Bits that were flipped.
    pub mask: u32,
    /// The golden value's bits.
    pub before: u32,
    /// `before` XOR `mask`.
    pub after: u32,
    /// What readers saw: `after`, or what the detector made of it.
    pub seen: u32,
    pub golden: Judged,
    pub effect: Effect,
}

impl Record {
    /// ΔLoss = |L_golden − L_faulty|; NaN where an answer isn't finite.
    pub fn delta_loss(&self) -> f64 {
        (self.golden.loss - self.effect.judged.loss).abs()
    }

    /// |Δp_label|; NaN where an answer isn't finite.
    pub fn delta_p(&self) -> f64 {
        (self.golden.p_label - self.effect.judged.p_label).abs()
    }

    /// What makes readers see `seen` where `before` was.
    pub fn masks(&self) -> BitMasks {
        masks(self.mask, self.after, self.seen)
    }
}

/// An injection that is to be run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    /// Index into the campaign's layers.
    pub layer: usize,
    pub n: u64,
    pub fault: Drawn,
}

/// A run of a job that serves every detector that shows readers the same value.
pub(super) struct Shot {
    pub job: Job,
    pub before: u32,
    pub seen: u32,
    /// Which of the plan's detectors, one bit each.
    pub detectors: u32,
}

impl Shot {
    /// The shots of a job: one for each value that the plan's detectors let through.
    pub fn of(job: Job, before: u32, max: f32, detectors: &[Detector]) -> Vec<Shot> {
        let after = before ^ job.fault.mask;
        let mut shots: Vec<Shot> = Vec::with_capacity(detectors.len());
        for (index, detector) in detectors.iter().enumerate() {
            let seen = match detector {
                Detector::Range if job.fault.mask != 0 => {
                    detector.see(f32::from_bits(after), max).to_bits()
                }
                // A rehearsal has no faulty value, and no detector needs to look at `none`'s.
                _ => after,
            };
            match shots.iter_mut().find(|shot| shot.seen == seen) {
                Some(shot) => shot.detectors |= 1 << index,
                None => shots.push(Shot { job, before, seen, detectors: 1 << index }),
            }
        }
        shots
    }

    /// What to arm.
    pub fn masks(&self) -> BitMasks {
        masks(self.job.fault.mask, self.before ^ self.job.fault.mask, self.seen)
    }

    /// The records of a shot that had this effect on image `image`.
    pub fn records(
        &self,
        detectors: &[Detector],
        image: usize,
        golden: Judged,
        effect: Effect,
        out: &mut Vec<Record>,
    ) {
        let Job { layer, n, fault } = self.job;
        for (index, detector) in detectors.iter().enumerate() {
            if self.detectors & (1 << index) != 0 {
                out.push(Record {
                    layer,
                    site: Site::Output,
                    n,
                    detector: *detector,
                    image,
                    channel: fault.channel,
                    row: fault.row,
                    column: fault.column,
                    mask: fault.mask,
                    before: self.before,
                    after: self.before ^ fault.mask,
                    seen: self.seen,
                    golden,
                    effect,
                });
            }
        }
    }
}

/// A flip where readers see what the flip made, a set value where a detector stood between.
fn masks(mask: u32, after: u32, seen: u32) -> BitMasks {
    if seen == after { BitMasks::flip(mask) } else { BitMasks { and: 0, or: 0, xor: seen } }
}
