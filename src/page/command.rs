//! The command that repeats a campaign, as far as its manifest knows it.

use crate::detector::Detector;
use crate::fault::Site;
use crate::number::Compute;
use crate::plan::{Flips, Labels, Plan, Protocol, Stratify};
use crate::report::shell_word;
use crate::results::{Manifest, Provenance};

/// What a page doesn't say.
pub(super) const UNKNOWN: &str = "Words in capitals are files of yours: the manifest below says what they held, not where they lay, nor which \
     other checkpoints had to be right about the images, too (--right-in), nor in which order of classes they were read \
     (--class-list), nor how the images of an .onnx file were prepared (--preprocess). `flipside inject --resume STORE --print-config` prints the flags that a store was begun with, where it keeps them.";

/// The detectors of a plan that names none.
fn usual(plan: &Plan) -> Vec<Detector> {
    match plan.protocol {
        Protocol::Goldeneye => vec![Detector::Range],
        Protocol::Strict if plan.site.has_range() => vec![Detector::None, Detector::Range],
        Protocol::Strict => vec![Detector::None],
    }
}

/// Whether the weights were another file than the model: an .onnx file holds its own.
pub(super) fn has_checkpoint(of: &Provenance) -> bool {
    !of.model.ends_with(".onnx") || of.checkpoint.contains(':')
}

/// A command: the program, and each flag with its value. What is in capitals is for the user to fill in.
pub(super) fn command(manifest: &Manifest) -> Vec<String> {
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
        layers,
        labels,
        protocol,
        temperatures,
    } = &manifest.plan;
    let plan = &manifest.plan;
    let mut words = vec!["flipside inject".to_string()];
    let mut flag = |name: &str, value: &str| words.push(format!("--{name} {value}"));
    flag("model", &shell_word(&manifest.setting.provenance.model));
    if has_checkpoint(&manifest.setting.provenance) {
        flag("checkpoint", "CHECKPOINT");
    }
    flag("data", "DATA");
    flag("image-size", &manifest.setting.image_size.to_string());
    if let Stratify::Allocated(_) = stratify {
        flag("allocate", "STORE");
    }
    match (list, until) {
        (Some(_), _) => flag("faults", "LIST.csv"),
        (None, _) if injections.start > 0 => flag("only", &injections.start.to_string()),
        (None, rule) => {
            // Of an allocated campaign the store that it takes its numbers from says how many.
            if !matches!(stratify, Stratify::Allocated(_)) {
                flag("injections", &injections.end.to_string());
            }
            if let Some(rule) = rule {
                flag("half-width", &rule.half_width.to_string());
                flag("stop-at", rule.target.name());
                flag("confidence", &rule.confidence.share().to_string());
            }
        }
    }
    if list.is_none() && *site != Site::Output {
        flag("site", site.name());
    }
    if list.is_none() {
        match flips {
            Flips::Rate(rate) => flag("ber", &format!("{rate:e}")),
            Flips::Count(count) => {
                if *count != 1 {
                    flag("flips", &count.to_string());
                }
                if *bits != 1 {
                    flag("bits", &bits.to_string());
                }
            }
        }
        if !only_bits.is_all() {
            flag("only-bits", &shell_word(&only_bits.to_string()));
        }
        for layer in layers.iter().flatten() {
            flag("layer", &shell_word(layer));
        }
    }
    if *stratify == Stratify::Bit {
        flag("stratify", "bit");
    }
    if *labels == Labels::Golden {
        flag("labels", "golden");
    }
    if *protocol != Protocol::default() {
        flag("protocol", protocol.name());
    }
    if *detectors != usual(plan) || list.is_some() {
        let names: Vec<&str> = detectors.iter().map(|detector| detector.name()).collect();
        flag("detector", &names.join(","));
    }
    if let Some(over) = &manifest.setting.ranges_over {
        flag("range-images", &over.images.to_string());
    }
    if !temperatures.is_empty() {
        let list: Vec<String> = temperatures.iter().map(ToString::to_string).collect();
        flag("temperature", &list.join(","));
    }
    flag("seed", &seed.to_string());
    if manifest.setting.device != "cpu" {
        flag("device", &shell_word(&manifest.setting.device));
    }
    if manifest.setting.compute != Compute::default() {
        flag("compute", manifest.setting.compute.name());
    }
    flag("out", "run.sqlite");
    words
}
