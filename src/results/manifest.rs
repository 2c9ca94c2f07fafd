//! What was run on what: a store's description of its campaign.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::config::Config;
use super::fault_free::FaultFree;
use super::golden::Golden;
use super::layer::{LayerRow, Part};
use super::record::Record;
use crate::cpu::gemm;
use crate::detector::Detector;
use crate::device::Device;
use crate::fault::Site;
use crate::hex;
use crate::logits::Score;
use crate::models::Model;
use crate::number::Compute;
use crate::plan::{Flips, Plan, Protocol, Stratify};

/// Where a model and its data come from; the caller knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Name of the backbone.
    pub model: String,
    /// SHA-256 of the checkpoint.
    pub checkpoint: String,
    /// Fingerprint of the evaluation data.
    pub data: String,
    /// Paths of images of these data that were left out, since they can't be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
    /// Images that were run fault-free to find those that faults hit, and how many of them were right.
    pub evaluated: usize,
    pub right: usize,
    /// Mean Top2Diff of all of these images, [`super::mean_top2diff`].
    pub top2diff: Option<f64>,
}

/// The images that ranges were measured over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RangesOver {
    /// How many.
    pub images: usize,
    /// Fingerprint of the set that they are of, where it has one.
    pub data: Option<String>,
}

/// A fault-free answer, less its logits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoldenRow {
    pub image: usize,
    /// What the data calls it: a path below its root.
    pub path: String,
    pub label: u32,
    /// Hash of the logits.
    pub hash: u64,
    pub top1: usize,
    /// `None` where a logit isn't finite.
    pub loss: Option<f64>,
    pub p_label: Option<f64>,
    pub top2diff: Option<f64>,
}

impl GoldenRow {
    /// The row of an answer to the image that the data calls `path`.
    pub fn new(golden: &Golden, path: String) -> GoldenRow {
        let Score { top1, loss, p_label, top2diff } = golden.score;
        let number = |value: f64| value.is_finite().then_some(value);
        GoldenRow {
            image: golden.image,
            path,
            label: golden.label,
            hash: golden.hash,
            top1,
            loss: number(loss),
            p_label: number(p_label),
            top2diff: number(top2diff),
        }
    }

    /// The numbers.
    pub fn score(&self) -> Score {
        let number = |value: Option<f64>| value.unwrap_or(f64::NAN);
        Score {
            top1: self.top1,
            loss: number(self.loss),
            p_label: number(self.p_label),
            top2diff: number(self.top2diff),
        }
    }
}

/// What a campaign and a census have in common: the program, the network, the machine and the images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Version of the program.
    pub version: String,
    /// The commit that it was built from, where it is known.
    pub commit: String,
    pub provenance: Provenance,
    /// As [`Head::name`](crate::nn::Head::name) has it.
    pub head: String,
    pub classes: usize,
    pub image_size: usize,
    pub device: String,
    /// How convolutions and linear layers multiply.
    pub compute: Compute,
    /// Architecture and vector extension of the processor.
    pub instruction_set: String,
    /// SHA-256 of the numbers and labels of the images, in order.
    pub image_list: String,
    /// Over what the ranges of a detector were measured; `None` where none is of outputs, and where the program
    /// that ran it didn't keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranges_over: Option<RangesOver>,
}

impl Setting {
    /// That of this program and processor: `model` on `device`, whose answers to the images are `goldens`.
    pub fn new(
        model: &Model,
        device: &Device,
        goldens: &[Golden],
        provenance: Provenance,
        ranges_over: Option<RangesOver>,
    ) -> Setting {
        let mut images = Sha256::new();
        for golden in goldens {
            images.update(format!("{} {}\n", golden.image, golden.label));
        }
        Setting {
            version: env!("CARGO_PKG_VERSION").into(),
            commit: crate::commit::get().into(),
            provenance,
            head: model.head.name().into(),
            classes: model.classes,
            image_size: model.image_size,
            device: device.kind().to_string(),
            compute: device.compute(),
            instruction_set: format!("{} {}", std::env::consts::ARCH, gemm::instruction_set()),
            image_list: hex(&images.finalize()),
            ranges_over,
        }
    }
}

/// What was run on what. Equal manifests: parts of one campaign.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    #[serde(flatten)]
    pub setting: Setting,
    /// Whether the logits are the last layer's output times a scale.
    pub has_scale: bool,
    pub plan: Plan,
    /// What the plan's temperatures come to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub temperatures: Vec<f64>,
    /// `None` of campaigns without ranges and temperatures, and where the program that ran it didn't keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault_free: Option<FaultFree>,
    /// The flags that it was begun with, which two parts may have been told differently; `None` where the program that
    /// ran it didn't keep them, and of what the library runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Config>,
    /// In tables of their own.
    #[serde(skip)]
    pub layers: Vec<LayerRow>,
    #[serde(skip)]
    pub images: Vec<GoldenRow>,
}

/// Of a longer value a difference isn't spelled out, in bytes.
const MOST_WORDS: usize = 400;

impl Manifest {
    /// How much a record counts within its layer, on average 1: [`Plan::weight`], or
    /// [`Allocation::weight`](crate::plan::Allocation::weight).
    pub fn weight(&self, record: &Record) -> f64 {
        let layer = &self.layers[record.layer];
        let bits = || self.plan.bits_among(layer.format_at(record.site));
        let in_turn = || self.plan.weight(record.n, bits());
        match &self.plan.stratify {
            Stratify::No => 1.0,
            Stratify::Bit => in_turn(),
            Stratify::Allocated(allocation) => {
                let bit = self.bit(record).unwrap_or(u32::MAX);
                allocation.weight(&layer.pair_key, bit).unwrap_or_else(in_turn)
            }
        }
    }

    /// Whether the mean ΔLoss of a layer is counted instead of drawn ([`Counted`](super::Counted)): in the last layer,
    /// before the scale and after it, of single flipped bits of outputs under the range detector, whichever bit. A campaign
    /// that looks at one injection alone asks for no mean.
    pub fn is_counted(&self, layer: &LayerRow) -> bool {
        let plan = &self.plan;
        matches!(layer.part, Part::LastLayer | Part::AfterScale)
            && plan.site == Site::Output
            && plan.flips == Flips::Count(1)
            && plan.bits == 1
            && plan.only_bits.is_all()
            && plan.list.is_none()
            && plan.protocol == Protocol::Strict
            && plan.detectors.contains(&Detector::Range)
            && plan.injections.start == 0
            && plan.injections_per_layer() > 1
    }

    /// Which of the bits of its value a record's fault flipped, from the lowest that the format has; `None` unless
    /// it was one.
    pub fn bit(&self, record: &Record) -> Option<u32> {
        let mask = record.mask().filter(|mask| mask.count_ones() == 1)?;
        let format = self.layers[record.layer].format_at(record.site);
        mask.trailing_zeros().checked_sub(format.shift())
    }

    /// The first thing in which `other` isn't the same campaign, in words; `None` if it is. Commits may
    /// differ: what they change in the answers shows in the fault-free ones. So may the flags that it was begun with: files
    /// lie elsewhere, and what flags mean is in the plan.
    pub fn difference(&self, other: &Manifest) -> Option<String> {
        let text = |name: &str, a: &dyn ToString, b: &dyn ToString| {
            let (a, b) = (a.to_string(), b.to_string());
            (a != b).then(|| format!("{name} differ ({a} and {b})"))
        };
        let json = |value: &Plan| serde_json::to_value(value).unwrap_or_default();
        let plan = || {
            let (a, b) = (json(&self.plan), json(&other.plan));
            // What is empty may have no key.
            let keys = [&a, &b].into_iter().filter_map(|plan| plan.as_object());
            let key = keys.flat_map(|plan| plan.keys()).find(|key| a[*key] != b[*key])?;
            let words = match key.as_str() {
                "injections" => {
                    let of = |plan: &Plan| plan.injections_per_layer();
                    format!("({} and {} a layer)", of(&self.plan), of(&other.plan))
                }
                _ => format!("({} and {})", a[key], b[key]),
            };
            Some(match words.len() {
                // An allocation is a page of numbers.
                ..=MOST_WORDS => format!("their plans differ in '{key}' {words}"),
                _ => format!("their plans differ in '{key}'"),
            })
        };
        let first = |what: &str, equal: bool| (!equal).then(|| format!("{what} differ"));
        let (a, b) = (&self.setting, &other.setting);
        let (from, to) = (&a.provenance, &b.provenance);
        text("their versions", &a.version, &b.version)
            .or_else(|| text("their models", &from.model, &to.model))
            .or_else(|| text("their heads", &a.head, &b.head))
            .or_else(|| text("their checkpoints", &from.checkpoint, &to.checkpoint))
            .or_else(|| text("their data", &from.data, &to.data))
            .or_else(plan)
            .or_else(|| text("their devices", &a.device, &b.device))
            .or_else(|| text("their computes", &a.compute, &b.compute))
            .or_else(|| text("their image sizes", &a.image_size, &b.image_size))
            .or_else(|| {
                let counts = (self.images.len(), other.images.len());
                (a.image_list != b.image_list).then(|| {
                    format!("their lists of images differ ({} and {} images)", counts.0, counts.1)
                })
            })
            .or_else(|| {
                // Programs that didn't keep it had these very ranges, or their layers differ.
                let (a, b) = (a.ranges_over.as_ref()?, b.ranges_over.as_ref()?);
                first("the images that their ranges were measured over", a == b)
            })
            .or_else(|| {
                let list = |values: &[f64]| format!("{values:?}");
                let (a, b) = (list(&self.temperatures), list(&other.temperatures));
                text("their temperatures", &a, &b)
            })
            .or_else(|| {
                // Of old programs it isn't known.
                let (a, b) = (self.fault_free.as_ref()?, other.fault_free.as_ref()?);
                first("their networks without faults", a == b)
            })
            .or_else(|| first("their layers", self.layers_agree(other)))
            .or_else(|| {
                let differing = self.images.iter().zip(&other.images).find(|(a, b)| a != b);
                let image =
                    differing.map(|(row, _)| format!(", first that to image {}", row.image));
                let image = image.unwrap_or_default();
                (self.images != other.images)
                    .then(|| format!("their fault-free answers differ{image}"))
            })
    }

    /// Kernels are named by device and instruction set, which may differ where the bits don't. The operations
    /// of parameters were once counted otherwise, which no record depends on.
    fn layers_agree(&self, other: &Manifest) -> bool {
        let plain = |layers: &[LayerRow]| -> Vec<LayerRow> {
            let plain = |layer: &LayerRow| {
                let macs = if layer.is_parameter() { 0 } else { layer.macs };
                LayerRow { variant: String::new(), macs, ..layer.clone() }
            };
            layers.iter().map(plain).collect()
        };
        plain(&self.layers) == plain(&other.layers)
    }
}
