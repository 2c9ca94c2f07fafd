//! Which layers of two runs stand against each other.

use std::collections::HashMap;

use serde::Serialize;

use crate::detector::Detector;
use crate::fault::{Site, SiteClass};
use crate::nn::Head;
use crate::results::{LayerRow, Manifest, Part, Record, Run};
use crate::{Error, Result};

/// The layers of a comparison whose runs don't hold the same ones. Names are those of either run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LayersCompared {
    /// What is compared: the layers of one name and shape, by the names of the baseline.
    pub common: Vec<String>,
    /// What isn't, since the other run was told to inject elsewhere; of the baseline and of the other.
    pub left_out: [Vec<String>; 2],
    /// What counts in a run although the other's model has no such layer.
    pub alone: [Vec<String>; 2],
}

/// Whether two layers got the same faults, if everything else is equal: one name and one shape, and where
/// faults depend on the input, one input.
pub(super) fn have_the_same_faults(a: &LayerRow, b: &LayerRow, site: Site) -> bool {
    let is_of_output = site.class() == SiteClass::Epilogue;
    a.pair_key == b.pair_key
        && a.shape == b.shape
        && (is_of_output || a.input_shape == b.input_shape)
}

/// In how many of the layers in common the faults are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SameFaults {
    pub layers: usize,
    /// The layers in common.
    pub of: usize,
}

impl SameFaults {
    /// Whether nothing is to be told: all are the same, or none ought to be.
    pub(super) fn are_in_all(same: &Option<SameFaults>) -> bool {
        same.is_none_or(|same| same.layers == same.of)
    }
}

/// In how many of the layers in common paired runs have the same faults.
pub(super) fn same_faults(baseline: &Run, other: &Run) -> SameFaults {
    let runs = [&baseline.manifest, &other.manifest];
    let site = runs[0].plan.site;
    let mut same = SameFaults { layers: 0, of: 0 };
    for layer in &runs[0].layers {
        let is_counterpart = |other: &&LayerRow| is_one_place(runs, layer, other);
        let mut counterparts = runs[1].layers.iter().filter(is_counterpart).peekable();
        let has_any = counterparts.peek().is_some();
        same.of += usize::from(has_any);
        let in_all = counterparts.all(|other| have_the_same_faults(layer, other, site));
        same.layers += usize::from(has_any && in_all);
    }
    same
}

/// Ranges of layers in common that are further apart than this factor are counted.
pub const RANGES_APART: f32 = 2.0;

/// How the ranges that a detector held two models to differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RangesCompared {
    /// Over how many training images those of either run were measured, where it says.
    pub images: [Option<usize>; 2],
    /// Layers in common that have ranges in both runs; the last one after the scale.
    pub layers: usize,
    /// Those whose ranges differ by more than the factor [`RANGES_APART`], by the baseline's names.
    pub apart: Vec<String>,
}

/// The ranges of layers in common; `None` where a run has none.
pub(super) fn ranges(baseline: &Run, other: &Run) -> Option<RangesCompared> {
    let runs = [&baseline.manifest, &other.manifest];
    let images = runs.map(|run| run.setting.ranges_over.as_ref().map(|over| over.images));
    let mut found = RangesCompared { images, layers: 0, apart: Vec::new() };
    for layer in &runs[0].layers {
        let is_counterpart = |other: &&LayerRow| is_one_place(runs, layer, other);
        // After the scale comes behind before it.
        let counterpart = runs[1].layers.iter().rfind(is_counterpart);
        let (Some(a), Some(b)) = (layer.range, counterpart.and_then(|layer| layer.range)) else {
            continue;
        };
        found.layers += 1;
        if a.max(b) > RANGES_APART * a.min(b) {
            found.apart.push(layer.name.clone());
        }
    }
    (found.layers > 0).then_some(found)
}

/// Whether two layers are one place of their models: before the scale isn't after it.
pub fn is_one_place(runs: [&Manifest; 2], a: &LayerRow, b: &LayerRow) -> bool {
    let both_have_scales = runs.iter().all(|manifest| manifest.has_scale);
    a.pair_key == b.pair_key && a.shape == b.shape && (a.part == b.part || !both_have_scales)
}

/// Whether a run's layers are some of its model's.
fn is_selection(run: &Run) -> bool {
    run.manifest.plan.layers.is_some() || run.manifest.plan.list.is_some()
}

/// The runs reduced to the layers in common, where either was told its layers; `None` where both hold all
/// of their models'.
pub(super) fn in_common(baseline: &Run, other: &Run) -> Option<([Run; 2], LayersCompared)> {
    if !is_selection(baseline) && !is_selection(other) {
        return None;
    }
    let runs = [baseline, other];
    let places = [0, 1].map(|side| places(runs, side));
    let named = |side: usize, wanted: Standing| names(runs[side], &places[side], wanted);
    let layers = LayersCompared {
        common: named(0, Standing::InBoth),
        left_out: [0, 1].map(|side| named(side, Standing::InOne)),
        alone: [0, 1].map(|side| named(side, Standing::Extra)),
    };
    let reduced = [0, 1].map(|side| {
        let is_kept = |index: &usize| places[side][*index] != Standing::InOne;
        reduce(runs[side], &(0..places[side].len()).filter(is_kept).collect::<Vec<_>>())
    });
    Some((reduced, layers))
}

/// The layers of whole networks; `None` where the models have the same, but for a text-guided head's extra
/// one.
pub(super) fn of_whole_networks(baseline: &Run, other: &Run) -> Option<LayersCompared> {
    let runs = [baseline, other];
    let places = [0, 1].map(|side| places(runs, side));
    if !places.iter().flatten().any(|standing| *standing == Standing::InOne) {
        return None;
    }
    let alone = [0, 1].map(|side| names(runs[side], &places[side], Standing::InOne));
    let common = names(baseline, &places[0], Standing::InBoth);
    Some(LayersCompared { common, left_out: Default::default(), alone })
}

/// Where a layer is found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    InBoth,
    InOne,
    /// What only text-guided models have counts beside a baseline.
    Extra,
}

/// Of every layer of a side, where it is found.
fn places(runs: [&Run; 2], side: usize) -> Vec<Standing> {
    let (run, other) = (&runs[side].manifest, &runs[1 - side].manifest);
    let of = |layer: &LayerRow| {
        let is_counterpart =
            |other_layer: &LayerRow| is_one_place([run, other], layer, other_layer);
        let is_extra = layer.part == Part::Embedding && other.setting.head == Head::Baseline.name();
        match other.layers.iter().any(is_counterpart) {
            true => Standing::InBoth,
            false if is_extra => Standing::Extra,
            false => Standing::InOne,
        }
    };
    run.layers.iter().map(of).collect()
}

/// The names of the layers that stand so.
fn names(run: &Run, places: &[Standing], wanted: Standing) -> Vec<String> {
    let layers = run.manifest.layers.iter().zip(places);
    layers
        .filter(|(_, standing)| **standing == wanted)
        .map(|(layer, _)| layer.name.clone())
        .collect()
}

/// A run of some of its layers.
fn reduce(run: &Run, kept: &[usize]) -> Run {
    let mut manifest = run.manifest.clone();
    manifest.layers = kept.iter().map(|index| run.manifest.layers[*index].clone()).collect();
    // Both are in the order of layers.
    let records = run.records.iter().filter_map(|record| {
        let layer = kept.binary_search(&record.layer).ok()?;
        Some(Record { layer, ..*record })
    });
    Run { records: records.collect(), counted: run.counted.of_layers(kept), manifest }
}

/// Refuses paired runs whose layers didn't get the same faults, whatever their manifests promise: another
/// version may have drawn others.
///
/// # Errors
/// [`Error::Usage`] naming the first injection that differs.
pub(super) fn check_faults(baseline: &Run, other: &Run) -> Result<()> {
    let Some(detector) = baseline.manifest.plan.detectors.first().copied() else { return Ok(()) };
    let site = baseline.manifest.plan.site;
    for (i, a) in baseline.manifest.layers.iter().enumerate() {
        let of_baseline: HashMap<u64, FaultKey> = faults(baseline, i, detector).collect();
        for (j, b) in other.manifest.layers.iter().enumerate() {
            if !have_the_same_faults(a, b, site) {
                continue;
            }
            let differs =
                |(n, fault): &(u64, FaultKey)| of_baseline.get(n).is_some_and(|of| of != fault);
            if let Some((n, _)) = faults(other, j, detector).find(differs) {
                return Err(Error::usage(format!(
                    "the runs can't be compared: injection {n} into layer '{}' is another fault in each \
                     (versions {} and {}); --unpaired compares runs whose faults aren't the same",
                    a.name, baseline.manifest.setting.version, other.manifest.setting.version
                )));
            }
        }
    }
    Ok(())
}

/// Image, number of hit values, and where one value alone was hit its element, k and mask.
type FaultKey = (usize, u32, Option<(u64, u32, u32)>);

fn faults(run: &Run, layer: usize, detector: Detector) -> impl Iterator<Item = (u64, FaultKey)> {
    run.of(layer, detector).map(|record| {
        let place = record.place.map(|place| (place.element, place.k, place.mask));
        (record.n, (record.image, record.flips, place))
    })
}
