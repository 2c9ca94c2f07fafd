//! Models in files: weights under PyTorch's state-dict names, and which head a file was made for.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use super::{Model, ModelFile};
use crate::checkpoint::{Checkpoint, HostTensor, TensorData, TensorView, write_safetensors};
use crate::nn::Head;
use crate::ops::Role;
use crate::tape::{Param, ParamId, Weights};
use crate::{Error, Result};

/// Metadata key under which a file says what it is.
pub const KIND: &str = "flipside.kind";
/// The [`KIND`] of a training run's resumable state.
pub const SNAPSHOT: &str = "training snapshot";
/// What stands before the names of an optimiser's tensors in a snapshot.
pub const OPTIMIZER_PREFIX: &str = "optimizer.";
/// What stands before the names of the weights' moving average in a snapshot.
pub const AVERAGE_PREFIX: &str = "ema.";

/// Name of the text-guided head's rows.
const HEAD_ROWS: &str = "head.weight";
/// Name of the logarithm of the text-guided head's scale.
const LOGIT_SCALE: &str = "logit_scale";

/// Loads every parameter and buffer of `model` from a file, by state-dict name and PyTorch shape.
///
/// A file from before PyTorch counted batches has no `num_batches_tracked` at all; they start at 0
/// then, as they do in PyTorch. Of a training snapshot the optimiser's tensors and the average are
/// passed over.
///
/// # Errors
/// One [`Error::File`] that lists all keys that are missing, unexpected or of another shape; the
/// weights are untouched then.
pub fn load_state(model: &Model, weights: &mut Weights, checkpoint: &Checkpoint) -> Result<()> {
    let params = model.tape.params();
    let is_counter = |param: &&Param| param.spec.role == Role::Counter;
    let counts_batches =
        params.iter().filter(is_counter).any(|param| checkpoint.contains(&param.name));
    let mut problems = Problems::default();
    let values = problems.values(params, checkpoint, "", counts_batches)?;
    let known: HashSet<&str> = params.iter().map(|param| param.name.as_str()).collect();
    let is_snapshot = checkpoint.metadata().get(KIND).is_some_and(|kind| kind == SNAPSHOT);
    let extra = [OPTIMIZER_PREFIX, AVERAGE_PREFIX];
    problems.unexpected = checkpoint
        .keys()
        .filter(|key| !known.contains(key))
        .filter(|key| !(is_snapshot && extra.iter().any(|prefix| key.starts_with(prefix))))
        .map(String::from)
        .collect();
    problems.check(checkpoint.path(), model)?;
    set_all(weights, values)
}

/// Loads the moving average that a training snapshot holds.
///
/// # Errors
/// As [`load_state`], but for unexpected keys.
pub fn load_average(model: &Model, weights: &mut Weights, checkpoint: &Checkpoint) -> Result<()> {
    let mut problems = Problems::default();
    let values = problems.values(model.tape.params(), checkpoint, AVERAGE_PREFIX, true)?;
    problems.check(checkpoint.path(), model)?;
    set_all(weights, values)
}

fn set_all(weights: &mut Weights, values: Vec<Values>) -> Result<()> {
    for (index, values) in values.into_iter().enumerate() {
        match values {
            Values::Floats(values) => weights.set(ParamId(index), &values)?,
            Values::Counter(count) => weights.set_counter(ParamId(index), count)?,
        }
    }
    Ok(())
}

/// What a parameter is set to.
enum Values {
    Floats(Vec<f32>),
    Counter(u32),
}

impl Values {
    /// The values of `tensor` for `param`, or what doesn't fit.
    fn of(param: &Param, tensor: &HostTensor) -> std::result::Result<Values, String> {
        let (name, expected) = (&param.name, &param.spec.shape);
        if tensor.shape != *expected {
            return Err(format!("{name} (expected {expected:?}, found {:?})", tensor.shape));
        }
        if param.spec.role != Role::Counter {
            return Ok(Values::Floats(tensor.to_f32()));
        }
        let count = match &tensor.data {
            TensorData::I64(count) => u32::try_from(count[0]).ok(),
            TensorData::I32(count) => u32::try_from(count[0]).ok(),
            _ => None,
        };
        count
            .map(Values::Counter)
            .ok_or_else(|| format!("{name} (expected a whole number from 0 to {})", u32::MAX))
    }
}

/// Keys that keep a file from being a model's.
#[derive(Default)]
struct Problems {
    missing: Vec<String>,
    unexpected: Vec<String>,
    misshapen: Vec<String>,
}

impl Problems {
    /// The values of `params`, each under its name after `prefix`; what is wrong is written down.
    /// Counters may be missing unless `counts_batches`.
    fn values(
        &mut self,
        params: &[Param],
        checkpoint: &Checkpoint,
        prefix: &str,
        counts_batches: bool,
    ) -> Result<Vec<Values>> {
        let mut values = Vec::with_capacity(params.len());
        for param in params {
            let key = format!("{prefix}{}", param.name);
            if !checkpoint.contains(&key) {
                if param.spec.role != Role::Counter || counts_batches {
                    self.missing.push(key);
                }
                values.push(Values::Counter(0));
                continue;
            }
            match Values::of(param, checkpoint.get(&key)?) {
                Ok(found) => values.push(found),
                Err(detail) => self.misshapen.push(format!("{prefix}{detail}")),
            }
        }
        Ok(values)
    }

    fn check(&self, path: &Path, model: &Model) -> Result<()> {
        let kinds = [
            ("missing", &self.missing),
            ("unexpected", &self.unexpected),
            ("of another shape", &self.misshapen),
        ];
        let lists: Vec<String> = kinds
            .iter()
            .filter(|(_, keys)| !keys.is_empty())
            .map(|(kind, keys)| format!("{} {kind}: {}", keys.len(), keys.join(", ")))
            .collect();
        if lists.is_empty() {
            return Ok(());
        }
        let Model { head, classes, .. } = model;
        Err(Error::file(
            path,
            format!(
                "doesn't fit the model ({head}, {classes} classes); keys {}",
                lists.join("; keys ")
            ),
        ))
    }
}

/// A model's tensors on the host, in the order of PyTorch's state dict.
pub struct HostState {
    tensors: Vec<(String, HostTensor)>,
}

impl HostState {
    /// Reads all parameters and buffers; counters become I64 scalars, as PyTorch has them.
    ///
    /// # Errors
    /// Those of the device.
    pub fn read(weights: &Weights) -> Result<HostState> {
        let tape = weights.tape().clone();
        let mut tensors = Vec::with_capacity(tape.params().len());
        for (index, param) in tape.params().iter().enumerate() {
            let id = ParamId(index);
            let data = match param.spec.role {
                Role::Counter => TensorData::I64(vec![i64::from(weights.counter(id)?)]),
                _ => TensorData::F32(weights.get(id)?),
            };
            tensors.push((param.name.clone(), HostTensor::new(param.spec.shape.clone(), data)?));
        }
        Ok(HostState { tensors })
    }

    /// Adds a tensor of another name.
    pub fn push(&mut self, name: String, tensor: HostTensor) {
        self.tensors.push((name, tensor));
    }

    /// Adds another's tensors, `prefix` before their names.
    pub fn append(&mut self, prefix: &str, other: HostState) {
        let renamed = |(name, tensor)| (format!("{prefix}{name}"), tensor);
        self.tensors.extend(other.tensors.into_iter().map(renamed));
    }

    /// Writes a safetensors file, whole or not at all.
    ///
    /// # Errors
    /// As [`write_safetensors`].
    pub fn write(&self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<()> {
        let views = self.tensors.iter().map(|(name, t)| (name.clone(), TensorView::from(t)));
        write_safetensors(path, views, metadata)
    }
}

/// What a file says about its model: name, head, classes, image size.
pub fn describe(model: &Model, model_name: &str) -> BTreeMap<String, String> {
    // PyTorch's own tools want to read "pt" here.
    [
        ("format", "pt".to_string()),
        ("flipside.model", model_name.to_string()),
        ("flipside.head", model.head.to_string()),
        ("flipside.classes", model.classes.to_string()),
        ("flipside.image_size", model.image_size.to_string()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_string(), value))
    .collect()
}

/// Writes a model's state dict as safetensors: names, order of the list, shapes and types are
/// PyTorch's, so that `load_state_dict(load_file(path))` takes it as it is.
///
/// # Errors
/// As [`write_safetensors`], and those of the device.
pub fn save_state(path: &Path, model: &Model, model_name: &str, weights: &Weights) -> Result<()> {
    HostState::read(weights)?.write(path, &describe(model, model_name))
}

/// The head that a checkpoint of the model of `file` was made with, and its number of classes, read
/// off its keys: text-guided where `head.weight` and `logit_scale` are there.
///
/// # Errors
/// [`Error::File`] where there is no last layer of either kind, or it isn't a matrix.
pub fn detect_head(checkpoint: &Checkpoint, file: &ModelFile) -> Result<(Head, usize)> {
    let rows = |key: &str| match checkpoint.get(key)?.shape[..] {
        [rows, columns] if rows > 0 && columns > 0 => Ok((rows, columns)),
        ref shape => {
            let detail = format!("{key} should be a matrix with a row a class, found {shape:?}");
            Err(Error::file(checkpoint.path(), detail))
        }
    };
    if checkpoint.contains(HEAD_ROWS) && checkpoint.contains(LOGIT_SCALE) {
        let (classes, width) = rows(HEAD_ROWS)?;
        return Ok((Head::TextGuided { width }, classes));
    }
    let probe = Model::new(file, Head::Baseline, 1, file.input.size, 0.0)?;
    let key = format!("{}.weight", probe.tape.node(probe.last_layer).name);
    if checkpoint.contains(&key) {
        return Ok((Head::Baseline, rows(&key)?.0));
    }
    Err(Error::file(
        checkpoint.path(),
        format!(
            "holds neither head of {}: a baseline has {key}, a text-guided model {HEAD_ROWS} and \
             {LOGIT_SCALE}",
            file.name
        ),
    ))
}

/// Starts a text-guided head: row i, `width` values of `unit_rows`, becomes the weight of class i.
/// The rows are text features, each divided by its norm already.
///
/// # Errors
/// [`Error::Usage`] for a model without such a head, [`Error::Shape`] for rows of another number
/// of classes or another width.
pub fn set_head_rows(weights: &mut Weights, unit_rows: &[f32], width: usize) -> Result<()> {
    let Ok(id) = weights.find(HEAD_ROWS) else {
        return Err(Error::usage("text features start a text-guided head; this is a baseline"));
    };
    let expected = weights.tape().params()[id.0].spec.shape.clone();
    let classes = unit_rows.len() / width.max(1);
    if expected != [classes, width] || unit_rows.len() != classes * width {
        return Err(Error::shape(
            "text features",
            format!(
                "the head wants {} classes of {} dimensions, found {classes} of {width}",
                expected[0], expected[1]
            ),
        ));
    }
    weights.set(id, unit_rows)
}
