//! `flipside inject --only`: injections told one by one.

use crate::Result;
use crate::analysis::worst::fault_of;
use crate::campaign::Campaign;
use crate::data::Dataset;
use crate::detector::Detector;
use crate::plan::Labels;
use crate::report::{FaultyAnswer, HitBy, HitValue, Injection};
use crate::results::{GoldenRow, HitElement, Record, Run};

/// The injections of a run, in the order of their layers; their images are those of `data`; `in_full`: with every logit, for
/// which each is run again.
///
/// # Errors
/// What running says.
pub(super) fn injections(
    campaign: &Campaign<'_>,
    run: &Run,
    data: &dyn Dataset,
    in_full: bool,
) -> Result<Vec<Injection>> {
    let of_one = |a: &Record, b: &Record| (a.layer, a.n) == (b.layer, b.n);
    let records = run.records.chunk_by(of_one);
    records.map(|records| injection(campaign, run, (records, data), in_full)).collect()
}

/// An injection by its records, one under each detector.
fn injection(
    campaign: &Campaign<'_>,
    run: &Run,
    (records, data): (&[Record], &dyn Dataset),
    in_full: bool,
) -> Result<Injection> {
    let (manifest, record) = (&run.manifest, &records[0]);
    let golden = campaign.experiment().goldens.iter().find(|golden| golden.image == record.image);
    let image = manifest.images.iter().find(|image| image.image == record.image);
    let (mut faulty, mut places) = (Vec::new(), Vec::new());
    for record in records {
        let mut logits = Vec::new();
        places = record.place.into_iter().collect();
        if in_full || record.flips != 1 {
            let rerun = campaign.rerun(record)?;
            (logits, places) = (rerun.logits, rerun.places);
        }
        faulty.push(FaultyAnswer { detector: record.detector, logits, effect: record.effect });
    }
    // Those under the last detector, the range, where it is there: `seen` is what it made of a value.
    let layer = &manifest.layers[record.layer];
    let hit = |place: &HitElement| {
        let alone = Record { place: Some(*place), ..*record };
        HitBy {
            fault: fault_of(layer, &alone).map_or_else(String::new, |fault| fault.to_string()),
            layer: layer.name.clone(),
            site: record.site.name(),
            values: vec![HitValue {
                mask: if record.site.is_store() { 0 } else { place.mask },
                format: layer.format_at(record.site),
                values: place.values,
            }],
        }
    };
    let unknown = || format!("number {}", record.image);
    let is_ranged = manifest.plan.detectors.contains(&Detector::Range);
    let score = &record.golden;
    Ok(Injection {
        number: Some(record.n),
        layer: layer.name.clone(),
        image: image.map_or_else(unknown, |row| row.path.clone()),
        file: image.map_or_else(unknown, |row| file_of(data, row)),
        class: image.map_or(score.top1, |row| row.label as usize),
        is_label: manifest.plan.labels == Labels::Data,
        hit: places.iter().map(hit).collect(),
        range: is_ranged.then(|| campaign.max(record.layer)),
        logits: golden.map_or_else(Vec::new, |golden| golden.logits.clone()),
        loss: score.loss,
        faulty,
    })
}

/// The image's file, as `flipside predict` takes it; its path in the set where it has none of its own.
fn file_of(data: &dyn Dataset, row: &GoldenRow) -> String {
    data.file(row.image).map_or_else(|| row.path.clone(), |file| file.display().to_string())
}
