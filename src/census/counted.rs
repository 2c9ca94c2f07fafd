//! The last layer of a campaign, counted in the place of its drawn faults.

use super::{CensusRunner, Mode};
use crate::Result;
use crate::campaign::{Ending, Experiment};
use crate::detector::Detector;
use crate::plan::Shard;
use crate::results::{Counted, MOST_COUNTED, Manifest, Record, Store};

/// Mean ΔLoss of the last layer, before the scale and after it, image by image, as far as the campaign of `manifest`
/// on this experiment injects there; nothing where its faults aren't single bits of outputs under the range detector.
///
/// # Errors
/// What running says; golden logits that aren't those of the evaluation.
pub fn count_last_layer(experiment: &Experiment<'_>, manifest: &Manifest) -> Result<Counted> {
    let mut counted = Counted::default();
    if !manifest.layers.iter().any(|layer| manifest.is_counted(layer)) {
        return Ok(counted);
    }
    let census = CensusRunner::new(experiment, Mode::Logits, &[Detector::Range])?;
    let goldens = experiment.spread(MOST_COUNTED);
    let temperatures = std::iter::once(&1.0).chain(&manifest.temperatures);
    for (place, temperature) in temperatures.enumerate() {
        for (name, means) in census.delta_loss_by_image(&goldens, 0, *temperature)? {
            let images = goldens.iter().map(|golden| golden.image).zip(means).collect();
            if let Some(layer) = manifest.layers.iter().position(|layer| layer.name == name) {
                counted.insert(layer, place, images);
            }
        }
    }
    Ok(counted)
}

/// Ends a part of a campaign in its store: the records that it has, and what is counted of the last layer, which is
/// the first part's task once all its injections are there.
///
/// # Errors
/// Those of [`count_last_layer`]; what the disk says.
pub fn finish(
    store: Store,
    experiment: &Experiment<'_>,
    manifest: &Manifest,
    shard: Shard,
    ending: Ending,
) -> Result<(Vec<Record>, Counted)> {
    let records = store.records(manifest)?;
    let mut counted = store.counted(manifest)?;
    if ending == Ending::Complete && counted.is_empty() && shard.index == 1 {
        counted = count_last_layer(experiment, manifest)?;
        store.count(&counted)?;
    }
    store.finish(ending == Ending::Complete)?;
    Ok((records, counted))
}
