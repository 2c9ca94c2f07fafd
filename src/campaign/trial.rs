//! The runs that records come from.

use crate::detector::Detector;
use crate::fault::{BitMasks, FaultEntry, Site, canonical};
use crate::logits::Score;
use crate::results::{Effect, Place, Record, Values};

/// An injection that is to be run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    /// Index into the campaign's layers.
    pub layer: usize,
    pub n: u64,
}

/// What a job puts into one image.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub site: Site,
    /// At the site; for [`Site::Weight`] `element` is the entry's index. None: a rehearsal, or a bit
    /// error rate that hit nothing.
    pub entries: Vec<FaultEntry>,
}

/// A run of a job that serves every detector that shows readers the same values.
pub(super) struct Shot {
    pub job: Job,
    pub site: Site,
    /// What to arm.
    pub entries: Vec<FaultEntry>,
    place: Option<Place>,
    flips: u32,
    /// Which of the plan's detectors, one bit each.
    detectors: u32,
}

impl Shot {
    /// The shots of a job: one for each set of values that the detectors let through. `max` is the
    /// layer's range; `value` gives the golden bits of what an entry hits, where they can be known.
    pub fn of(
        job: Job,
        fault: &Fault,
        max: f32,
        detectors: &[Detector],
        value: impl Fn(&FaultEntry) -> Option<u32>,
    ) -> Vec<Shot> {
        let before: Vec<Option<u32>> =
            fault.entries.iter().map(|entry| value(entry).map(canonical)).collect();
        let mut shots: Vec<Shot> = Vec::with_capacity(detectors.len());
        for (index, detector) in detectors.iter().enumerate() {
            let mut place = None;
            let hit = fault.entries.iter().zip(&before).map(|(entry, before)| {
                let masks = entry.masks();
                let values = before.map(|before| {
                    let after = masks.apply(before);
                    // A rehearsal has no faulty value, and no detector needs to look at `none`'s.
                    let seen = match detector {
                        Detector::Range if masks != BitMasks::flip(0) => {
                            detector.see(f32::from_bits(after), max).to_bits()
                        }
                        _ => after,
                    };
                    Values { before, after, seen }
                });
                let mask = if masks.and == u32::MAX && masks.or == 0 { masks.xor } else { 0 };
                place = Some(Place { element: entry.element, k: entry.k, mask, values });
                let seen = match values {
                    Some(Values { after, seen, .. }) if seen != after => BitMasks::set(seen),
                    _ => masks,
                };
                FaultEntry { and_mask: seen.and, or_mask: seen.or, xor_mask: seen.xor, ..*entry }
            });
            let entries: Vec<FaultEntry> = hit.collect();
            match shots.iter_mut().find(|shot| shot.entries == entries) {
                Some(shot) => shot.detectors |= 1 << index,
                None => shots.push(Shot {
                    job,
                    site: fault.site,
                    flips: entries.len() as u32,
                    place: place.filter(|_| entries.len() == 1),
                    entries,
                    detectors: 1 << index,
                }),
            }
        }
        shots
    }

    /// The records of a shot that had this effect on image `image`.
    pub fn records(
        &self,
        detectors: &[Detector],
        image: usize,
        golden: Score,
        effect: Effect,
        out: &mut Vec<Record>,
    ) {
        let Job { layer, n } = self.job;
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
