//! A training run on disk: one file from which it goes on to the same bits.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::StepFigures;
use super::history::EpochRecord;
use super::job::differences;
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
/// The epoch, from 1, whose weights a model has that isn't its run's last.
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

    /// How it stands, in a few words.
    pub fn words(&self) -> String {
        let skipped = match self.skipped_steps {
            0 => String::new(),
            steps => format!(", {steps} steps skipped"),
        };
        format!("loss {:.4}, top-1 {:.2} %{skipped}", self.mean_loss(), self.top1_percent())
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
    tensors.write(path, &metadata)
}

/// Reads a snapshot of the run called `identity` into `weights`, `optimizer` and `average`.
pub(super) fn read(
    path: &Path,
    identity: &Value,
    model: &Model,
    weights: &mut Weights,
    optimizer: &mut Optimizer,
    average: Option<&mut Weights>,
) -> Result<Position> {
    let checkpoint = Checkpoint::open(path)?;
    if checkpoint.metadata().get(KIND).is_none_or(|kind| kind != SNAPSHOT) {
        return Err(Error::file(path, "isn't the snapshot of a training run"));
    }
    check_identity(path, &checkpoint, identity)?;
    let position: Position = metadata(path, &checkpoint, POSITION)?;
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
    for ((_, buffer), arena) in optimizer.moments_mut().zip(moments) {
        for (offset, stored) in arena {
            buffer.write(offset, bytemuck::cast_slice(&stored))?;
        }
    }
    Ok(position)
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

/// As [`provenance`], of the model of an epoch that is kept, from 0.
pub(super) fn provenance_of(
    facts: &Facts,
    identity: &Value,
    epoch: usize,
) -> BTreeMap<String, String> {
    let mut metadata = provenance(facts, identity);
    metadata.insert(EPOCH.to_string(), (epoch + 1).to_string());
    metadata
}

/// Which epoch's weights, from 0, the kept model of the run called `identity` has.
pub(super) fn kept_epoch(path: &Path, identity: &Value) -> Result<usize> {
    let checkpoint = Checkpoint::open(path)?;
    check_identity(path, &checkpoint, identity)?;
    let epoch: usize = metadata(path, &checkpoint, EPOCH)?;
    Ok(epoch.saturating_sub(1))
}

/// Refuses what another run wrote.
fn check_identity(path: &Path, checkpoint: &Checkpoint, identity: &Value) -> Result<()> {
    let was: Value = metadata(path, checkpoint, IDENTITY)?;
    // Through text, so that both have been read back from decimals.
    let is: Value = serde_json::from_str(&identity.to_string()).map_err(broken(path))?;
    let differ = differences(&was, &is);
    if differ.is_empty() {
        return Ok(());
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
