//! The faults of a campaign that changed answers most, as faults that can be run again.

use crate::detector::Detector;
use crate::fault::{FaultSpec, Place, Shape, Site};
use crate::number::FaultModel;
use crate::results::{LayerRow, Record, Run};

/// The records without a detector of the largest finite ΔLoss, the largest first, among those that `counts` says yes to and
/// that hit one value; of equal ones in the order of layer and number. Answers that aren't finite have no ΔLoss.
pub fn worst(run: &Run, count: usize, counts: impl Fn(&LayerRow, &Record) -> bool) -> Vec<&Record> {
    let is_meant = |record: &&Record| {
        record.detector == Detector::None
            && record.place.is_some()
            && record.delta_loss().is_finite()
            && counts(&run.manifest.layers[record.layer], record)
    };
    let mut records: Vec<&Record> = run.records.iter().filter(is_meant).collect();
    records.sort_by(|a, b| b.delta_loss().total_cmp(&a.delta_loss()));
    records.truncate(count);
    records
}

/// The fault of a record, in whichever image is first in its batch; `None` where several values were hit.
pub fn fault_of(layer: &LayerRow, record: &Record) -> Option<FaultSpec> {
    let place = record.place?;
    let flipped = FaultModel::Flip(place.mask);
    // A value that was set, or a bit that was stuck, changed otherwise than by the mask.
    let model = match place.values.filter(|_| !record.site.is_store()) {
        Some(values) if values.before ^ place.mask != values.after => {
            match f32::from_bits(values.after) {
                after if after.is_nan() && place.mask != 0 => flipped,
                after => FaultModel::Set(after),
            }
        }
        _ => flipped,
    };
    let map_place = || {
        let [channel, row, column] = layer.coordinates(record.site, place.element)?;
        let named = [("channel", channel), ("row", row), ("column", column)];
        Some(Place::Named(named.map(|(name, at)| (name, at as usize)).to_vec()))
    };
    Some(FaultSpec {
        layer: crate::tape::pair_name(&layer.name).to_string(),
        site: record.site,
        image: 0,
        place: map_place().unwrap_or(Place::Flat(place.element as usize)),
        k: if record.site.has_term() { place.k } else { 0 },
        parameter: String::new(),
        offset_bit: if record.site == Site::StoreAstray { place.k } else { 0 },
        model,
        shape: Shape::Element,
        seed: 0,
    })
}
