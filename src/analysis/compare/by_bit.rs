//! Two runs bit by bit.

use std::collections::BTreeSet;

use serde::Serialize;

use super::pair::{Compared, ImprovementName, RunPair};
use super::{Comparison, Improvement, Pairing, RateChange, family, layers};
use crate::Result;
use crate::analysis::breakdown::{By, RunPart, bit};
use crate::analysis::rates::Intervals;
use crate::analysis::scope::{Scope, Weighting};
use crate::detector::Detector;
use crate::number::Field;
use crate::results::{Counted, Measure, Outcome, Record, Run};

/// A bit of the values that faults hit, over all layers alike.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BitChange {
    /// As exports number it.
    pub bit: u32,
    /// The field that it lies in, where all layers' values have one format.
    pub field: Option<Field>,
    /// The ratio of mean ΔLoss under the range detector, of drawn faults; `None` where a run has no such injections.
    pub delta_loss: Option<Improvement>,
    /// The SDC rate without a detector; `None` where a run has no such injections.
    pub sdc: Option<RateChange>,
}

/// Two runs bit by bit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BitsCompared {
    /// From the lowest bit.
    pub bits: Vec<BitChange>,
    /// How many figures of theirs have a p-value: what Holm's adjustment is over.
    pub family: usize,
}

/// The bits that faults of either run flipped, with verdicts of a family of their own; `compared` are the two as a whole,
/// which says whether verdicts are given at all.
///
/// # Errors
/// Faults that didn't flip a single bit of a single value; those of a comparison.
pub fn compare_bits(
    runs: [&Run; 2],
    pairing: Pairing,
    how: &Intervals,
    compared: &Comparison,
) -> Result<BitsCompared> {
    let reduced = layers::in_common(runs[0], runs[1]).map(|(runs, _)| runs);
    let runs = reduced.as_ref().map_or(runs, |reduced| reduced.each_ref());
    let mut all = BTreeSet::new();
    for run in runs {
        for record in &run.records {
            let refused = || By::Bit.refused(&run.manifest.layers[record.layer], record);
            all.insert(bit(record).ok_or_else(refused)?);
        }
    }
    let mut bits = Vec::new();
    for part in all {
        let RunPart::Bit { bit } = part else { continue };
        let of_bit = runs.map(|run| only(run, part));
        let pair = RunPair::new(of_bit.each_ref(), pairing, how);
        let (delta_loss, sdc) = pair.of_bit()?;
        bits.push(BitChange { bit, field: field(runs[0], bit), delta_loss, sdc });
    }
    let refused = compared.refusals.first().map(|refusal| refusal.reason);
    let family = family::judge_bits(&mut bits, how.confidence, refused);
    Ok(BitsCompared { bits, family })
}

/// A run with the faults of one bit alone.
fn only(run: &Run, part: RunPart) -> Run {
    let is_meant = |record: &&Record| bit(record) == Some(part);
    Run {
        manifest: run.manifest.clone(),
        records: run.records.iter().filter(is_meant).copied().collect(),
        counted: Counted::default(),
    }
}

fn field(run: &Run, bit: u32) -> Option<Field> {
    let site = run.manifest.plan.site;
    let mut formats = run.manifest.layers.iter().map(|layer| layer.format_at(site));
    let first = formats.next()?;
    formats.all(|format| format == first).then(|| first.field_of(bit)).flatten()
}

impl RunPair<'_> {
    /// The figures of runs that hold the faults of one bit, over the layers that have any.
    fn of_bit(&self) -> Result<(Option<Improvement>, Option<RateChange>)> {
        let detectors = &self.runs[0].manifest.plan.detectors;
        let layers = |detector: Detector| {
            self.each(|run| {
                let mut layers = Scope::ALL.layers(run);
                layers.retain(|layer| run.of(*layer, detector).next().is_some());
                layers
            })
        };
        let sdc = match detectors.contains(&Detector::None) {
            true => self.rate(&layers(Detector::None), Detector::None, Outcome::Sdc)?,
            false => None,
        };
        let has_range = detectors.contains(&Detector::Range);
        let mut delta_loss = has_range.then(|| layers(Detector::Range)).and_then(|layers| {
            let scope = Compared {
                name: ImprovementName::Overall { embedding: true },
                layers,
                weighting: Weighting::Uniform,
            };
            self.improvement_of(&scope, [Measure::DeltaLoss; 2])
        });
        if self.is_stopped() {
            delta_loss.iter_mut().for_each(Improvement::withhold);
        }
        Ok((delta_loss, sdc))
    }
}
