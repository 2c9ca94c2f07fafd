//! A campaign that was run.

use super::counted::Counted;
use super::manifest::Manifest;
use super::record::Record;
use crate::detector::Detector;

/// A campaign that was run: what, and what came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub manifest: Manifest,
    /// Sorted by layer, number and detector.
    pub records: Vec<Record>,
    /// What is known of layers without drawing faults; it stands in for their records in means of ΔLoss.
    pub counted: Counted,
}

impl Run {
    /// The records of a layer under a detector.
    pub fn of(&self, layer: usize, detector: Detector) -> impl Iterator<Item = &Record> + Clone {
        // Sorted by layer, so that a layer is one stretch.
        let start = self.records.partition_point(|record| record.layer < layer);
        let end = self.records.partition_point(|record| record.layer <= layer);
        self.records[start..end].iter().filter(move |record| record.detector == detector)
    }

    /// The fewest and the most injections of a layer.
    pub fn injections(&self) -> (u64, u64) {
        let detector = self.manifest.plan.detectors.first();
        let of = |layer| detector.map_or(0, |detector| self.of(layer, *detector).count() as u64);
        let counts = (0..self.manifest.layers.len()).map(of);
        (counts.clone().min().unwrap_or(0), counts.max().unwrap_or(0))
    }
}
