//! What two runs must have in common, field by field of their manifests.

use std::collections::HashMap;

use crate::analysis::compare::Pairing;
use crate::plan::Plan;
use crate::results::{LayerRow, Manifest, Provenance, RangesOver, Setting};
use crate::{Error, Result};

/// What an error calls the images that faults hit.
const IMAGES: &str = "lists of images";

/// What happens where a field differs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FieldRule {
    /// Refused.
    Equal,
    /// Refused of paired runs; said of others.
    EqualIfPaired,
    /// Refused of paired runs; others show it in figures of their own.
    EqualIfPairedShown,
    /// Refused of paired runs where both say it; said else.
    EqualIfKnown,
    /// Said.
    Said,
}

/// A field of a manifest, as it is compared and as it is told.
struct ManifestField {
    rule: FieldRule,
    /// What an error calls it.
    name: &'static str,
    value: String,
    words: String,
}

/// What a run says that doesn't know.
const UNKNOWN: &str = "unknown";

/// The fields, with their rules. What has no rule here is taken up elsewhere, or can't matter; the table in
/// the comparison's documentation says which is which. A field that is new has to be decided on here.
fn fields(manifest: &Manifest) -> Vec<ManifestField> {
    let Manifest {
        setting,
        has_scale: _,
        plan,
        temperatures: _,
        fault_free: _,
        config: _,
        layers: _,
        images,
    } = manifest;
    let Setting {
        version,
        commit: _,
        provenance,
        head: _,
        classes,
        image_size,
        device,
        compute,
        instruction_set: _,
        image_list,
        ranges_over,
    } = setting;
    // What is left out of the data shows in their fingerprint.
    let Provenance { model: _, checkpoint: _, data, skipped: _, evaluated, right: _, top2diff: _ } =
        provenance;
    let Plan {
        seed,
        injections,
        until,
        site,
        flips,
        bits,
        only_bits,
        stratify,
        list,
        detectors,
        layers: _,
        labels,
        protocol,
        temperatures: _,
    } = plan;
    let field = |rule, name, value: &dyn ToString| {
        let value = value.to_string();
        ManifestField { rule, name, words: value.clone(), value }
    };
    let mut sorted = detectors.clone();
    sorted.sort();
    let detectors = sorted.iter().map(|d| d.name()).collect::<Vec<_>>().join("+");
    let until = until.as_ref().map_or_else(|| "none".into(), ToString::to_string);
    let only_bits = if only_bits.is_all() { "all".into() } else { only_bits.to_string() };
    let list = list.as_ref().map_or_else(|| "none".into(), |list| format!("list {list}"));
    let images = format!("{} images", images.len());
    let of_ranges = |of: &dyn Fn(&RangesOver) -> Option<String>| {
        ranges_over.as_ref().and_then(of).unwrap_or_else(|| UNKNOWN.into())
    };
    let ranged = of_ranges(&|over| Some(over.images.to_string()));
    let ranged_data = of_ranges(&|over| over.data.clone());
    use FieldRule::{Equal, EqualIfKnown, EqualIfPaired, EqualIfPairedShown, Said};
    vec![
        field(Equal, "data", data),
        field(Equal, "numbers of classes", classes),
        field(Equal, "bits a fault", bits),
        field(Equal, "bits to draw among", &only_bits),
        field(Equal, "protocols", &protocol.name()),
        field(Equal, "sites", &site.name()),
        field(Equal, "flips an inference", &format!("{flips:?}")),
        field(Equal, "labels", &format!("{labels:?}")),
        field(Equal, "detectors", &detectors),
        ManifestField { words: images, ..field(EqualIfPairedShown, IMAGES, image_list) },
        field(EqualIfPairedShown, "seeds", seed),
        field(EqualIfPairedShown, "injections a layer", &format!("{injections:?}")),
        field(EqualIfPaired, "rules to stop at", &until),
        ManifestField {
            words: stratify.words(),
            ..field(EqualIfPaired, "strata", &format!("{stratify:?}"))
        },
        field(EqualIfPaired, "lists of faults", &list),
        field(EqualIfPaired, "image sizes", image_size),
        field(EqualIfPaired, "numbers of evaluated images", evaluated),
        field(EqualIfKnown, "numbers of training images for ranges", &ranged),
        field(EqualIfKnown, "training images for ranges", &ranged_data),
        field(Said, "devices", device),
        field(Said, "computes", compute),
        field(Said, "versions", version),
    ]
}

/// The first image that both runs have under another label: their networks number the classes differently.
fn other_numbers([a, b]: [&Manifest; 2]) -> Option<String> {
    let labels: HashMap<&str, u32> =
        b.images.iter().map(|image| (image.path.as_str(), image.label)).collect();
    a.images.iter().find_map(|image| {
        let theirs = *labels.get(image.path.as_str())?;
        (theirs != image.label).then(|| {
            let (path, ours) = (&image.path, image.label);
            format!(
                "the networks number the classes differently: {path} is of class {ours} and {theirs}"
            )
        })
    })
}

/// Whether a parameter's operations were counted in two ways: older programs gave biases those of their
/// layer's weight.
pub(super) fn counts_differ(a: &Manifest, b: &Manifest) -> bool {
    let is_other = |a: &LayerRow| {
        let is_it = |b: &&LayerRow| {
            a.is_parameter() && b.is_parameter() && a.pair_key == b.pair_key && a.shape == b.shape
        };
        b.layers.iter().find(is_it).is_some_and(|b| a.macs != b.macs)
    };
    a.setting.image_size == b.setting.image_size && a.layers.iter().any(is_other)
}

/// Refuses runs that don't belong together, paired ones also where faults or images aren't the same; what
/// else differs, in words.
///
/// # Errors
/// [`Error::Usage`] naming the first field that mustn't differ.
pub(super) fn check(a: &Manifest, b: &Manifest, pairing: Pairing) -> Result<Vec<String>> {
    let (mut said, runs) = (Vec::new(), [a, b]);
    for (a, b) in fields(a).into_iter().zip(fields(b)) {
        if a.value == b.value {
            continue;
        }
        let hint = match (a.rule, pairing) {
            (FieldRule::Equal, _) => "",
            (FieldRule::EqualIfPaired | FieldRule::EqualIfPairedShown, Pairing::Paired) => {
                "; --unpaired compares runs whose faults aren't the same"
            }
            (FieldRule::EqualIfKnown, Pairing::Paired)
                if a.value != UNKNOWN && b.value != UNKNOWN =>
            {
                ", which decide what the detector lets through; --unpaired compares them all the same"
            }
            (FieldRule::EqualIfPairedShown, Pairing::Unpaired) => continue,
            (FieldRule::EqualIfPaired | FieldRule::EqualIfKnown | FieldRule::Said, _) => {
                said.push(format!("{} {} and {}", a.name, a.words, b.words));
                continue;
            }
        };
        let (name, mut words) = (a.name, format!("{} and {}", a.words, b.words));
        if name == IMAGES
            && let Some(numbering) = other_numbers(runs)
        {
            words = numbering;
        }
        return Err(Error::usage(format!(
            "the runs can't be compared: their {name} differ ({words}){hint}"
        )));
    }
    if counts_differ(runs[0], runs[1]) {
        said.push(
            "how MACs of parameters are counted (see the changelog), so that no figure is weighted by \
             them"
                .into(),
        );
    }
    Ok(said)
}
