//! What was run on what: a store's description of its campaign.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::golden::Golden;
use super::layer::LayerRow;
use crate::device::Compute;
use crate::hex;
use crate::logits::Score;
use crate::plan::Plan;

/// Where a model and its data come from; the caller knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Name of the backbone.
    pub model: String,
    /// SHA-256 of the checkpoint.
    pub checkpoint: String,
    /// Fingerprint of the evaluation data.
    pub data: String,
    /// Images that were run fault-free to find those that faults hit, and how many of them were right.
    pub evaluated: usize,
    pub right: usize,
    /// Mean Top2Diff of all of these images, [`super::mean_top2diff`].
    pub top2diff: Option<f64>,
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

/// What was run on what. Equal manifests: parts of one campaign.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the program.
    pub version: String,
    /// The commit that it was built from, where it is known.
    pub commit: String,
    pub provenance: Provenance,
    /// `baseline` or `text-guided`.
    pub head: String,
    /// Whether the logits are the last layer's output times a scale.
    pub has_scale: bool,
    pub classes: usize,
    pub image_size: usize,
    pub plan: Plan,
    pub device: String,
    /// How convolutions and linear layers multiply.
    pub compute: Compute,
    /// Architecture and vector extension of the processor.
    pub instruction_set: String,
    /// SHA-256 of the numbers and labels of the images, in order.
    pub image_list: String,
    /// In tables of their own.
    #[serde(skip)]
    pub layers: Vec<LayerRow>,
    #[serde(skip)]
    pub images: Vec<GoldenRow>,
}

impl Manifest {
    /// The first thing in which `other` isn't the same campaign, in words; `None` if it is. Commits may
    /// differ: what they change in the answers shows in the fault-free ones.
    pub fn difference(&self, other: &Manifest) -> Option<String> {
        let text = |name: &str, a: &dyn ToString, b: &dyn ToString| {
            let (a, b) = (a.to_string(), b.to_string());
            (a != b).then(|| format!("{name} differ ({a} and {b})"))
        };
        let json = |value: &Plan| serde_json::to_value(value).unwrap_or_default();
        let plan = || {
            let (a, b) = (json(&self.plan), json(&other.plan));
            let key = a.as_object()?.keys().find(|key| a[*key] != b[*key])?;
            Some(format!("their plans differ in '{key}' ({} and {})", a[key], b[key]))
        };
        let first = |what: &str, equal: bool| (!equal).then(|| format!("{what} differ"));
        let (a, b) = (&self.provenance, &other.provenance);
        text("their versions", &self.version, &other.version)
            .or_else(|| text("their models", &a.model, &b.model))
            .or_else(|| text("their heads", &self.head, &other.head))
            .or_else(|| text("their checkpoints", &a.checkpoint, &b.checkpoint))
            .or_else(|| text("their data", &a.data, &b.data))
            .or_else(plan)
            .or_else(|| text("their devices", &self.device, &other.device))
            .or_else(|| text("their computes", &self.compute, &other.compute))
            .or_else(|| text("their image sizes", &self.image_size, &other.image_size))
            .or_else(|| {
                let (a, b) = (self.images.len(), other.images.len());
                (self.image_list != other.image_list)
                    .then(|| format!("their lists of images differ ({a} and {b} images)"))
            })
            .or_else(|| first("their layers", self.layers_agree(other)))
            .or_else(|| first("their fault-free answers", self.images == other.images))
    }

    /// Kernels are named by device and instruction set, which may differ where the bits don't.
    fn layers_agree(&self, other: &Manifest) -> bool {
        let plain = |layers: &[LayerRow]| -> Vec<LayerRow> {
            layers.iter().map(|l| LayerRow { variant: String::new(), ..l.clone() }).collect()
        };
        plain(&self.layers) == plain(&other.layers)
    }
}

/// SHA-256 of the numbers and labels of images, in order.
pub(crate) fn image_list(goldens: &[Golden]) -> String {
    let mut images = Sha256::new();
    for golden in goldens {
        images.update(format!("{} {}\n", golden.image, golden.label));
    }
    hex(&images.finalize())
}

/// SHA-256 of the bits of fault-free answers, in order.
pub(crate) fn answers(goldens: &[Golden]) -> String {
    let mut answers = Sha256::new();
    for golden in goldens {
        answers.update(golden.hash.to_le_bytes());
    }
    hex(&answers.finalize())
}

/// Architecture and vector extension of the processor.
pub(crate) fn instruction_set() -> String {
    format!("{} {}", std::env::consts::ARCH, crate::ops::gemm::instruction_set())
}
