//! A campaign's run folder: `manifest.json`, what was run on what, and `injections.csv`, a row a
//! record. Both appear whole or not at all, the manifest last; it holds the other file's hash.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::csv;
use super::golden::{Golden, Judged};
use super::layers::{Layer, Part};
use super::ranges::{Detector, Ranges};
use super::record::{Plan, Record};
use super::run::Campaign;
use crate::checkpoint::atomic;
use crate::device::{Compute, Device};
use crate::nn::Head;
use crate::tape::Tape;
use crate::tensor::Map;
use crate::{Error, Result};

/// The manifest's file.
pub const MANIFEST: &str = "manifest.json";
/// The records' file.
pub const INJECTIONS: &str = "injections.csv";
/// What a manifest calls itself.
const FORMAT: &str = "flipside-run-1";

/// Where a model and its data come from; the caller knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Name of the backbone.
    pub model: String,
    /// Hash of the checkpoint's file.
    pub checkpoint: String,
    /// Fingerprint of the evaluation data.
    pub data: String,
}

/// A layer, as a manifest has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerRow {
    pub name: String,
    pub pair_key: String,
    pub kind: String,
    pub part: Part,
    /// Channels, height and width of one image's output.
    pub shape: [usize; 3],
    pub macs: u64,
    /// max |output| over training images; `None` where it wasn't measured.
    pub range: Option<f32>,
    /// What computed it: the native loop and its tile, or the device.
    pub variant: String,
}

impl LayerRow {
    /// Output elements of one image.
    pub fn neurons(&self) -> u64 {
        self.shape.iter().map(|size| *size as u64).product()
    }

    fn new(layer: &Layer, ranges: &Ranges, tape: &Tape, device: &Device) -> LayerRow {
        let Map { height, width, channels } = layer.map;
        let op = tape.node(layer.node).op.as_ref();
        let inputs = tape.input_specs(layer.node);
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
            shape: [channels, height, width],
            macs: layer.macs,
            range: ranges.max.get(&layer.name).copied(),
            variant,
        }
    }
}

/// A fault-free answer, less its logits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoldenRow {
    pub image: usize,
    pub label: u32,
    /// Hash of the logits, in hex.
    pub hash: String,
    pub top1: usize,
    /// `None` where a logit isn't finite.
    pub loss: Option<f64>,
    pub p_label: Option<f64>,
    pub top2diff: Option<f64>,
}

impl GoldenRow {
    fn new(golden: &Golden) -> GoldenRow {
        let Judged { top1, loss, p_label, top2diff } = golden.judged;
        let number = |value: f64| value.is_finite().then_some(value);
        GoldenRow {
            image: golden.image,
            label: golden.label,
            hash: format!("{:016x}", golden.hash),
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

/// What was run on what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    format: String,
    /// Version of the program.
    pub version: String,
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
    #[serde(default)]
    pub compute: Compute,
    /// Architecture and vector extension of the processor.
    pub instruction_set: String,
    /// SHA-256 of the indices and labels of the images, in order.
    pub image_list: String,
    pub layers: Vec<LayerRow>,
    pub images: Vec<GoldenRow>,
    /// Rows of the records' file, and its SHA-256.
    pub records: u64,
    pub records_sha256: String,
}

/// A campaign that was run: what, and what came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub manifest: Manifest,
    /// Sorted by layer, number and detector.
    pub records: Vec<Record>,
}

impl Run {
    /// The run of a campaign that gave `records`.
    pub fn new(
        campaign: &Campaign<'_>,
        ranges: &Ranges,
        provenance: Provenance,
        records: Vec<Record>,
    ) -> Run {
        let model = campaign.model;
        let device = campaign.weights.device();
        let rows = |layer| LayerRow::new(layer, ranges, &model.tape, device);
        let mut images = Sha256::new();
        for golden in campaign.goldens {
            images.update(format!("{} {}\n", golden.image, golden.label));
        }
        let manifest = Manifest {
            format: FORMAT.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            provenance,
            head: match model.head {
                Head::Baseline => "baseline".into(),
                Head::TextGuided { .. } => "text-guided".into(),
            },
            has_scale: model.logits != model.last_layer,
            classes: model.classes,
            image_size: model.image_size,
            plan: campaign.plan().clone(),
            instruction_set: format!(
                "{} {}",
                std::env::consts::ARCH,
                crate::ops::gemm::instruction_set()
            ),
            image_list: hex(&images.finalize()),
            layers: campaign.layers().iter().map(rows).collect(),
            images: campaign.goldens.iter().map(GoldenRow::new).collect(),
            records: records.len() as u64,
            records_sha256: String::new(),
            device: device.kind().to_string(),
            compute: device.compute(),
        };
        Run { manifest, records }
    }

    /// The records of a layer under a detector.
    pub fn of(&self, layer: usize, detector: Detector) -> impl Iterator<Item = &Record> + Clone {
        // Sorted by layer, so that a layer is one stretch.
        let start = self.records.partition_point(|record| record.layer < layer);
        let end = self.records.partition_point(|record| record.layer <= layer);
        self.records[start..end].iter().filter(move |record| record.detector == detector)
    }

    /// Writes the run into `folder`, which is made if it isn't there.
    ///
    /// # Errors
    /// One sentence that names the file; a full disk is named as such, and files that were there
    /// are untouched.
    pub fn save(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).map_err(|source| Error::io(folder, source))?;
        let rows = csv::write(&self.manifest.layers, &self.records);
        let manifest = Manifest {
            records: self.records.len() as u64,
            records_sha256: hex(&Sha256::digest(rows.as_bytes())),
            ..self.manifest.clone()
        };
        let path = folder.join(MANIFEST);
        let mut json = serde_json::to_string_pretty(&manifest)
            .map_err(|error| Error::file(&path, format!("can't be written: {error}")))?;
        json.push('\n');
        atomic::write(&folder.join(INJECTIONS), |out| out.write_all(rows.as_bytes()))?;
        atomic::write(&path, |out: &mut dyn Write| out.write_all(json.as_bytes()))
    }

    /// Reads the run in `folder`.
    ///
    /// # Errors
    /// Which file isn't there, isn't a run's, or isn't the one that the manifest was written with.
    pub fn open(folder: &Path) -> Result<Run> {
        let path = folder.join(MANIFEST);
        let text = fs::read_to_string(&path).map_err(|source| Error::io(&path, source))?;
        let bad = |detail: String| Error::file(&path, detail);
        let value: serde_json::Value = serde_json::from_str(&text)
            .map_err(|error| bad(format!("isn't whole JSON: {error}")))?;
        match value.get("format").and_then(|format| format.as_str()) {
            Some(FORMAT) => {}
            Some(other) => {
                return Err(bad(format!("has the format '{other}', not '{FORMAT}'")));
            }
            None => return Err(bad("isn't the manifest of a run".into())),
        }
        let manifest: Manifest = serde_json::from_str(&text)
            .map_err(|error| bad(format!("isn't the manifest of a run: {error}")))?;

        let path = folder.join(INJECTIONS);
        let rows = fs::read(&path).map_err(|source| Error::io(&path, source))?;
        if hex(&Sha256::digest(&rows)) != manifest.records_sha256 {
            let lines = rows.iter().filter(|byte| **byte == b'\n').count().saturating_sub(1);
            let expected = manifest.records;
            return Err(Error::file(
                &path,
                format!(
                    "isn't the file that the manifest was written with ({lines} rows, \
                     {expected} expected): truncated, changed, or of another run"
                ),
            ));
        }
        let text = String::from_utf8(rows).map_err(|_| Error::file(&path, "isn't text"))?;
        let records = csv::read(&path, &text, &manifest)?;
        Ok(Run { manifest, records })
    }
}

/// Bytes in lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
