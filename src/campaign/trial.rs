//! The runs that records come from.

use crate::detector::Detector;
use crate::fault::{FaultEntry, Site};
use crate::logits::Score;
use crate::number::{BitMasks, canonical};
use crate::results::{Effect, HitElement, Record, Values};

/// Names an injection of the campaign.
#[derive(Clone, Copy, Debug)]
pub(super) struct InjectionId {
    /// Index into the campaign's layers.
    pub layer: usize,
    pub n: u64,
}

/// What an entry hits: `before` are its canonical bits, where they are known.
pub(super) fn hit(
    entry: &FaultEntry,
    before: Option<u32>,
    detector: Detector,
    max: f32,
) -> HitElement {
    let masks = entry.masks();
    let values = before.map(|before| {
        let after = masks.apply(before);
        // A rehearsal has no faulty value for a detector to look at.
        let seen = match masks == BitMasks::flip(0) {
            true => after,
            false => detector.see(f32::from_bits(after), max).to_bits(),
        };
        Values { before, after, seen }
    });
    let mask = if masks.and == u32::MAX && masks.or == 0 { masks.xor } else { 0 };
    HitElement { element: entry.element, k: entry.k, mask, values }
}

/// What an injection puts into one image.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub site: Site,
    /// At the site; for [`Site::Weight`] `element` is the entry's index. Empty where a bit error rate hit
    /// nothing.
    pub entries: Vec<FaultEntry>,
}

/// One run of an injection. Detectors under which readers see the same values share it.
pub(super) struct Trial {
    pub injection: InjectionId,
    pub site: Site,
    /// What to arm.
    pub entries: Vec<FaultEntry>,
    place: Option<HitElement>,
    flips: u32,
    /// Which of the plan's detectors, one bit each.
    detectors: u32,
}

impl Trial {
    /// The trials of an injection: one for each set of values that the detectors let through. `max` is the
    /// layer's range; `value` gives the golden bits of what an entry hits, where they can be known, of one entry after
    /// the other.
    pub fn of(
        injection: InjectionId,
        fault: &Fault,
        max: f32,
        detectors: &[Detector],
        mut value: impl FnMut(&FaultEntry) -> Option<u32>,
    ) -> Vec<Trial> {
        let before: Vec<Option<u32>> =
            fault.entries.iter().map(|entry| value(entry).map(canonical)).collect();
        let mut trials: Vec<Trial> = Vec::with_capacity(detectors.len());
        for (index, detector) in detectors.iter().enumerate() {
            let mut place = None;
            let entries = fault.entries.iter().zip(&before).map(|(entry, before)| {
                let found = hit(entry, *before, *detector, max);
                place = Some(found);
                let seen = match found.values {
                    Some(Values { after, seen, .. }) if seen != after => BitMasks::set(seen),
                    _ => entry.masks(),
                };
                entry.with(seen)
            });
            let entries: Vec<FaultEntry> = entries.collect();
            match trials.iter_mut().find(|trial| trial.entries == entries) {
                Some(trial) => trial.detectors |= 1 << index,
                None => trials.push(Trial {
                    injection,
                    site: fault.site,
                    flips: entries.len() as u32,
                    place: place.filter(|_| entries.len() == 1),
                    entries,
                    detectors: 1 << index,
                }),
            }
        }
        trials
    }

    /// The records of a trial that had this effect on image `image`.
    pub fn records(
        &self,
        detectors: &[Detector],
        image: usize,
        golden: Score,
        effect: Effect,
        out: &mut Vec<Record>,
    ) {
        let InjectionId { layer, n } = self.injection;
        for (index, detector) in detectors.iter().enumerate() {
            if self.detectors & (1 << index) != 0 {
                out.push(Record {
                    layer,
                    n,
                    detector: *detector,
                    site: self.site,
                    image,
                    flips: self.flips,
                    place: self.place,
                    golden,
                    effect,
                });
            }
        }
    }
}
