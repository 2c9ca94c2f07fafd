//! What was run on what: a store's description of its campaign.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::hex;
use crate::campaign::golden::{Golden, Judged};
use crate::campaign::layers::{Layer, Part, sizes};
use crate::campaign::plan::Plan;
use crate::campaign::ranges::Detector;
use crate::campaign::run::Campaign;
use crate::device::{Compute, Device};
use crate::fault::Site;
use crate::tape::Tape;

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
    /// Mean Top2Diff of all of these images, [`crate::campaign::golden::mean_top2diff`].
    pub top2diff: Option<f64>,
}

/// A layer, as a manifest has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerRow {
    pub name: String,
    pub pair_key: String,
    pub kind: String,
    pub part: Part,
    /// Of one image's output: channels, height and width; of a parameter: PyTorch's shape.
    pub shape: Vec<usize>,
    /// Of one image's input, as `shape`; empty for a parameter.
    pub input_shape: Vec<usize>,
    pub macs: u64,
    /// What the range detector clamps to: max |output| over training images, max |entry| of a parameter;
    /// `None` without that detector.
    pub range: Option<f32>,
    /// What computed it: the native loop and its tile, or the kernel and its tile.
    pub variant: String,
}

impl LayerRow {
    /// Output elements of one image, or entries of the parameter.
    pub fn neurons(&self) -> u64 {
        self.shape.iter().map(|size| *size as u64).product()
    }

    /// Whether it is a parameter.
    pub fn is_parameter(&self) -> bool {
        self.kind == "parameter"
    }

    /// The sizes of what elements at a site count, the slowest first: channels, height and width of a map,
    /// or a parameter's. `None` for attention's scores and probabilities, which lie in no map of a layer.
    pub fn shape_at(&self, site: Site) -> Option<&[usize]> {
        match site {
            Site::Scores | Site::Probabilities => None,
            Site::Input => Some(&self.input_shape),
            _ => Some(&self.shape),
        }
    }

    /// Channel, row and column of an element at a site; `None` where it lies in no map.
    pub fn coordinates(&self, site: Site, element: u64) -> Option<[u64; 3]> {
        let [_, height, width] = *self.shape_at(site).filter(|_| !self.is_parameter())? else {
            return None;
        };
        let (pixels, width) = (height.checked_mul(width)? as u64, width as u64);
        let pixel = element.checked_rem(pixels)?;
        Some([element / pixels, pixel / width, pixel % width])
    }

    fn new(layer: &Layer, range: Option<f32>, tape: &Tape, device: &Device) -> LayerRow {
        let inputs = tape.input_specs(layer.node);
        let op = tape.node(layer.node).op.as_ref();
        let kernel = op.and_then(|op| op.variant(&inputs, device.compute()));
        let variant = match (kernel, layer.kind) {
            (Some(_), _) if device.is_cpu() => format!("cpu {}", crate::ops::gemm::variant()),
            (Some(kernel), _) => format!("{} {}", device.kind(), kernel.symbol),
            (None, kind) => format!("{} {kind}", device.kind()),
        };
        LayerRow {
            name: layer.name.clone(),
            pair_key: layer.pair_key.clone(),
            kind: layer.kind.into(),
            part: layer.part,
            shape: match &layer.parameter {
                Some(parameter) => parameter.shape.clone(),
                None => sizes(layer.map).to_vec(),
            },
            input_shape: match (&layer.parameter, inputs.first()) {
                (None, Some(input)) => sizes(input.map).to_vec(),
                _ => Vec::new(),
            },
            macs: layer.macs,
            range,
            variant,
        }
    }
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
    fn new(golden: &Golden, path: String) -> GoldenRow {
        let Judged { top1, loss, p_label, top2diff } = golden.judged;
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
    pub fn judged(&self) -> Judged {
        let number = |value: Option<f64>| value.unwrap_or(f64::NAN);
        Judged {
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
    /// A campaign's.
    pub fn new(campaign: &Campaign<'_>, provenance: Provenance) -> Manifest {
        let model = campaign.model;
        let device = campaign.weights.device();
        let ranged = campaign.plan().detectors.contains(&Detector::Range);
        let layer = |(index, layer): (usize, &Layer)| {
            LayerRow::new(layer, ranged.then(|| campaign.max(index)), &model.tape, device)
        };
        let golden = |golden: &Golden| GoldenRow::new(golden, campaign.images.name(golden.image));
        Manifest {
            version: env!("CARGO_PKG_VERSION").into(),
            commit: env!("FLIPSIDE_COMMIT").into(),
            provenance,
            head: model.head.name().into(),
            has_scale: model.logits != model.last_layer,
            classes: model.classes,
            image_size: model.image_size,
            plan: campaign.plan().clone(),
            device: device.kind().to_string(),
            compute: device.compute(),
            instruction_set: instruction_set(),
            image_list: image_list(campaign.goldens),
            layers: campaign.layers().iter().enumerate().map(layer).collect(),
            images: campaign.goldens.iter().map(golden).collect(),
        }
    }

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
pub(super) fn image_list(goldens: &[Golden]) -> String {
    let mut images = Sha256::new();
    for golden in goldens {
        images.update(format!("{} {}\n", golden.image, golden.label));
    }
    hex(&images.finalize())
}

/// SHA-256 of the bits of fault-free answers, in order.
pub(super) fn answers(goldens: &[Golden]) -> String {
    let mut answers = Sha256::new();
    for golden in goldens {
        answers.update(golden.hash.to_le_bytes());
    }
    hex(&answers.finalize())
}

/// Architecture and vector extension of the processor.
pub(super) fn instruction_set() -> String {
    format!("{} {}", std::env::consts::ARCH, crate::ops::gemm::instruction_set())
}
