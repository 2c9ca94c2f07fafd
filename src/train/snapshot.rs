//! A training run on disk: one file from which it goes on to the same bits.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::StepFigures;
use super::job::differences;
use super::summary::EpochRecord;
use crate::checkpoint::{Checkpoint, HostTensor, TensorData};
use crate::models::state::{
    AVERAGE_PREFIX, HostState, KIND, OPTIMIZER_PREFIX, SNAPSHOT, load_average,
};
use crate::models::{Facts, Model, load_state};
use crate::tape::{Optimizer, Param, ParamId, Weights};
use crate::{Error, Result};

/// Metadata keys.
const IDENTITY: &str = "flipside.run";
const POSITION: &str = "flipside.position";
const CHECKSUM: &str = "flipside.sha256";
/// The epoch, from 1, whose weights an epoch's model has.
const EPOCH: &str = "flipside.epoch";

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    /// The epoch that is under way, from 0; the recipe's number of them when all is done.
    pub epoch: usize,
    /// The step of it that comes next, from 0.
    pub step: usize,
    pub running: Running,
    pub history: Vec<EpochRecord>,
    /// Epochs from the start that the best isn't looked for in: an older version trained them, and kept none of their
    /// models.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub best_from: u64,
    /// Steps on end, up to here, that were skipped.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped_on_end: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Sums over the images of an epoch so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Running {
    pub images: u64,
    pub right: u64,
    /// Bits of the f64 sum of the losses: decimals could lose some on their way through JSON.
    loss_bits: u64,
    /// Bits that flipped.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub output_flips: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub weight_flips: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped_steps: u64,
}

impl Position {
    /// Takes a step of so many images in.
    pub fn count(&mut self, images: usize, figures: &StepFigures) {
        let running = &mut self.running;
        running.output_flips += figures.flips.outputs;
        running.weight_flips += figures.flips.weights;
        if figures.skipped {
            running.skipped_steps += 1;
            self.skipped_on_end += 1;
            return;
        }
        self.skipped_on_end = 0;
        running.add(images, figures.right, figures.loss * images as f64);
    }

    /// Steps of the run so far that were skipped.
    pub fn skipped(&self) -> u64 {
        let before = self.history.iter().filter_map(|record| record.skipped_steps);
        before.sum::<u64>() + self.running.skipped_steps
    }
}

impl Running {
    pub fn add(&mut self, images: usize, right: usize, loss: f64) {
        self.images += images as u64;
        self.right += right as u64;
        self.loss_bits = (f64::from_bits(self.loss_bits) + loss).to_bits();
    }

    pub fn mean_loss(&self) -> f64 {
        f64::from_bits(self.loss_bits) / self.images.max(1) as f64
    }

    pub fn top1_percent(&self) -> f64 {
        100.0 * self.right as f64 / self.images.max(1) as f64
    }
}

/// A run's metadata for its trained model: what it is, and how it was made.
pub(super) fn provenance(facts: &Facts, identity: &Value) -> BTreeMap<String, String> {
    let mut metadata = facts.metadata();
    metadata.insert(IDENTITY.to_string(), identity.to_string());
    metadata
}

/// Writes a snapshot, whole or not at all.
pub(super) fn write(
    path: &Path,
    metadata: BTreeMap<String, String>,
    position: &Position,
    weights: &Weights,
    optimizer: &Optimizer,
    average: Option<&Weights>,
) -> Result<()> {
    let position = serde_json::to_string(position)
        .map_err(|source| Error::file(path, format!("can't be written: {source}")))?;
    let mut metadata = metadata;
    metadata.insert(KIND.to_string(), SNAPSHOT.to_string());
    metadata.insert(POSITION.to_string(), position);
    let mut tensors = HostState::read(weights)?;
    for (moment, buffer) in optimizer.moments() {
        for (id, param) in trained(weights) {
            let mut stored = vec![0f32; param.spec.elements()];
            buffer.read(weights.slot(id).offset, bytemuck::cast_slice_mut(&mut stored))?;
            let values = param.spec.layout.load(&param.spec.shape, &stored);
            let tensor = HostTensor::new(param.spec.shape.clone(), TensorData::F32(values))?;
            tensors.push(tensor_name(moment, param), tensor);
        }
    }
    if let Some(average) = average {
        tensors.append(AVERAGE_PREFIX, HostState::read(average)?);
    }
    let sums = tensors.tensors().map(|(name, tensor)| (name, sum_of(tensor)));
    metadata.insert(CHECKSUM.to_string(), checksum(&metadata, sums.collect()));
    tensors.write(path, &metadata)
}

/// SHA-256 of a tensor's values.
fn sum_of(tensor: &HostTensor) -> Vec<u8> {
    Sha256::digest(tensor.data.as_bytes()).to_vec()
}

/// SHA-256, in hex, of where a run stands and of all tensors, by their sums.
fn checksum(metadata: &BTreeMap<String, String>, sums: BTreeMap<&str, Vec<u8>>) -> String {
    let mut hasher = Sha256::new();
    hasher.update(metadata.get(POSITION).map_or("", String::as_str));
    for (name, sum) in sums {
        hasher.update(name);
        hasher.update(sum);
    }
    crate::hex(&hasher.finalize())
}

/// Refuses a snapshot in which a bit isn't as it was written. Older versions wrote no checksum.
fn check_bits(path: &Path, checkpoint: &Checkpoint) -> Result<()> {
    let Some(written) = checkpoint.metadata().get(CHECKSUM) else { return Ok(()) };
    let sums = checkpoint.iter().map(|(name, tensor)| (name, sum_of(&tensor)));
    match checksum(checkpoint.metadata(), sums.collect()) == *written {
        true => Ok(()),
        false => Err(Error::file(path, "is damaged: its checksum isn't that of its tensors")),
    }
}

/// Reads a snapshot of the run called `identity` into `weights`, `optimizer` and `average`.
pub(super) fn read(
    path: &Path,
    identity: &Value,
    model: &Model,
    weights: &mut Weights,
    optimizer: &mut Optimizer,
    average: Option<&mut Weights>,
) -> Result<(Position, BegunBy)> {
    let checkpoint = Checkpoint::open(path)?;
    if checkpoint.metadata().get(KIND).is_none_or(|kind| kind != SNAPSHOT) {
        return Err(Error::file(path, "isn't the snapshot of a training run"));
    }
    check_bits(path, &checkpoint)?;
    let origin = check_identity(path, &checkpoint, identity)?;
    let mut position: Position = metadata(path, &checkpoint, POSITION)?;
    let mut moments = Vec::new();
    for name in optimizer.rule().moments() {
        let mut arena = Vec::new();
        for (id, param) in trained(weights) {
            let values = checkpoint.f32(&tensor_name(name, param), &param.spec.shape)?;
            let stored = param.spec.layout.store(&param.spec.shape, &values);
            arena.push((weights.slot(id).offset, stored));
        }
        moments.push(arena);
    }
    if let Some(average) = average {
        load_average(model, average, &checkpoint)?;
    }
    load_state(model, weights, &checkpoint)?;
    for (index, arena) in moments.into_iter().enumerate() {
        for (offset, stored) in arena {
            optimizer.write_moment(index, offset, bytemuck::cast_slice(&stored))?;
        }
    }
    if origin == BegunBy::KeptLast {
        position.best_from = position.epoch as u64;
    }
    Ok((position, origin))
}

/// Reads the model that the run called `identity` made at its end.
pub(super) fn read_model(
    path: &Path,
    identity: &Value,
    model: &Model,
    weights: &mut Weights,
) -> Result<()> {
    let checkpoint = Checkpoint::open(path)?;
    check_identity(path, &checkpoint, identity)?;
    load_state(model, weights, &checkpoint)
}

/// As [`provenance`], of the model of an epoch, from 0.
pub(super) fn provenance_of(
    facts: &Facts,
    identity: &Value,
    epoch: usize,
) -> BTreeMap<String, String> {
    let mut metadata = provenance(facts, identity);
    metadata.insert(EPOCH.to_string(), (epoch + 1).to_string());
    metadata
}

/// Which epoch's weights, from 0, an epoch's model of the run called `identity` has.
pub(super) fn epoch_of(path: &Path, identity: &Value) -> Result<usize> {
    let checkpoint = Checkpoint::open(path)?;
    check_identity(path, &checkpoint, identity)?;
    let epoch: usize = metadata(path, &checkpoint, EPOCH)?;
    Ok(epoch.saturating_sub(1))
}

/// Which version of the program began a run, by what it kept as the trained model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BegunBy {
    /// This one: the best epoch's model beside the last's.
    Present,
    /// An older one that kept the last epoch's, or the best's.
    KeptLast,
    KeptBest,
}

/// An identity as this version would have written it, and which version did.
fn modern(mut was: Value, is: &Value) -> (Value, BegunBy) {
    let Value::Object(fields) = &mut was else { return (was, BegunBy::Present) };
    // Older versions didn't write it down.
    if let (false, Some(names)) = (fields.contains_key("class_names"), is.get("class_names")) {
        fields.insert("class_names".into(), names.clone());
    }
    if fields.contains_key("validation") {
        return (was, BegunBy::Present);
    }
    let keep = fields.remove("keep");
    let best_on =
        keep.as_ref().and_then(Value::as_str).and_then(|keep| keep.strip_prefix("best on "));
    let (validation, origin) = match best_on {
        Some(on) => (on.into(), BegunBy::KeptBest),
        // It wasn't written down then.
        None => (is["validation"].clone(), BegunBy::KeptLast),
    };
    fields.insert("validation".into(), validation);
    (was, origin)
}

/// Refuses what another run wrote.
fn check_identity(path: &Path, checkpoint: &Checkpoint, identity: &Value) -> Result<BegunBy> {
    let was: Value = metadata(path, checkpoint, IDENTITY)?;
    // Through text, so that both have been read back from decimals.
    let is: Value = serde_json::from_str(&identity.to_string()).map_err(broken(path))?;
    let (was, origin) = modern(was, &is);
    let differ = differences(&was, &is);
    if differ.is_empty() {
        return Ok(origin);
    }
    Err(Error::file(
        path,
        format!("belongs to another training run than the flags ask for: {}", differ.join("; ")),
    ))
}

/// A value of the metadata.
fn metadata<T: DeserializeOwned>(path: &Path, checkpoint: &Checkpoint, key: &str) -> Result<T> {
    let text = checkpoint.metadata().get(key);
    let text = text.ok_or_else(|| Error::file(path, format!("its metadata lacks {key}")))?;
    serde_json::from_str(text).map_err(broken(path))
}

fn broken(path: &Path) -> impl Fn(serde_json::Error) -> Error {
    move |source| Error::file(path, format!("its metadata is damaged: {source}"))
}

/// The trained parameters.
fn trained(weights: &Weights) -> impl Iterator<Item = (ParamId, &Param)> {
    let params = weights.tape().params().iter().enumerate();
    params.filter(|(_, param)| param.is_trained()).map(|(index, param)| (ParamId(index), param))
}

/// What an optimiser's `moment` of a parameter is called.
fn tensor_name(moment: &str, param: &Param) -> String {
    format!("{OPTIMIZER_PREFIX}{moment}.{}", param.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    use crate::device::Device;
    use crate::nn::{Head, LastLayer};
    use crate::ops::Start;
    use crate::ops::rmsprop::RmsProp;
    use crate::tape::{OptimizerOptions, Rule};
    use crate::tensor::Map;

    #[test]
    fn runs_of_older_versions_are_known() {
        let is = json!({"seed": 1, "validation": "images, cut"});
        assert_eq!(modern(is.clone(), &is), (is.clone(), BegunBy::Present));
        let last = json!({"seed": 1});
        assert_eq!(modern(last, &is), (is.clone(), BegunBy::KeptLast));
        let best = json!({"seed": 1, "keep": "best on images, cut"});
        assert_eq!(modern(best, &is), (is.clone(), BegunBy::KeptBest));
        let none = json!({"seed": 1, "validation": null});
        assert_eq!(modern(none.clone(), &is), (none, BegunBy::Present));
    }

    #[test]
    fn positions_of_older_versions_are_read() {
        let old =
            r#"{"epoch":1,"step":2,"running":{"images":3,"right":1,"loss_bits":0},"history":[]}"#;
        let position: Position = serde_json::from_str(old).unwrap();
        assert_eq!((position.skipped(), position.best_from), (0, 0));
        assert_eq!(serde_json::to_string(&position).unwrap(), old);
    }

    /// Every moment comes back under its own name, the one that begins with ones, too.
    #[test]
    fn each_moment_of_rmsprop_comes_back() {
        let model = Model::record(Head::Baseline, 5, Map::new(1, 1, 3), 0.0, |_, feature| {
            Ok(LastLayer { name: "out".into(), bias: true, start: Start::PyTorch, feature })
        });
        let model = model.unwrap();
        let mut weights = Weights::new(&model.tape, &Device::cpu(), true).unwrap();
        weights.initialize(1).unwrap();
        let rule = Rule::RmsProp(RmsProp {
            alpha: 0.9,
            eps: 1e-3,
            momentum: 0.9,
            centered: true,
            tensorflow: true,
        });
        let fresh =
            |weights: &Weights| Optimizer::new(weights, OptimizerOptions::new(rule, &|_| 0.0));
        let read_moments = |optimizer: &Optimizer, weights: &Weights| {
            let mut all = Vec::new();
            for (name, buffer) in optimizer.moments() {
                for (id, param) in trained(weights) {
                    let mut values = vec![0f32; param.spec.elements()];
                    let bytes = bytemuck::cast_slice_mut(&mut values);
                    buffer.read(weights.slot(id).offset, bytes).unwrap();
                    all.push((name, values));
                }
            }
            all
        };
        let optimizer = fresh(&weights).unwrap();
        let begun = read_moments(&optimizer, &weights);
        let mut other = fresh(&weights).unwrap();
        for index in 0..rule.moments().len() {
            let values: Vec<f32> = (0..weights.trained_bytes() / 4)
                .map(|at| (at + 100 * index) as f32 + 0.5)
                .collect();
            other.write_moment(index, 0, bytemuck::cast_slice(&values)).unwrap();
        }
        let filled = read_moments(&other, &weights);
        assert_eq!(begun.len(), 6);
        let folder = tempfile::tempdir().unwrap();
        let identity = Value::from("a run");
        let metadata = BTreeMap::from([(IDENTITY.to_string(), identity.to_string())]);
        for (from, expected) in [(&optimizer, &begun), (&other, &filled)] {
            let path = folder.path().join("snapshot.safetensors");
            let position = Position { epoch: 1, step: 2, ..Position::default() };
            write(&path, metadata.clone(), &position, &weights, from, None).unwrap();
            let mut into = fresh(&weights).unwrap();
            let found = read(&path, &identity, &model, &mut weights, &mut into, None).unwrap().0;
            assert_eq!(found, position);
            assert_eq!(&read_moments(&into, &weights), expected);
        }
    }
}
