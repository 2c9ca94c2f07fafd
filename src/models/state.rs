//! Models in files: weights under PyTorch's state-dict names, and which head a file was made for.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use super::dialect::Keys;
use super::whose::looks_like;
use super::{Facts, Model, ModelFile};
use crate::checkpoint::{Checkpoint, Dtype, HostTensor, TensorData, TensorView, write_safetensors};
use crate::error::{shorten, some_of};
use crate::nn::{HEAD_ROWS, Head, LOGIT_SCALE};
use crate::ops::{Init, Role};
use crate::tape::{Param, ParamId, Weights};
use crate::{Error, Result};

/// Metadata key under which a file says what it is.
pub const KIND: &str = "flipside.kind";
/// Metadata key under which a file says which head it is of, as [`Head`] prints itself.
pub(super) const HEAD: &str = "flipside.head";
/// The [`KIND`] of a training run's resumable state.
pub const SNAPSHOT: &str = "training snapshot";
/// What stands before the names of an optimiser's tensors in a snapshot.
pub const OPTIMIZER_PREFIX: &str = "optimizer.";
/// What stands before the names of the weights' moving average in a snapshot.
pub const AVERAGE_PREFIX: &str = "ema.";

/// Loads every parameter and buffer of `model` from a file, by state-dict name and PyTorch shape.
/// Where the model's family has a [`Dialect`](super::Dialect), a file in its names is taken, too.
///
/// A file from before PyTorch counted batches has no `num_batches_tracked` at all; they start at 0
/// then, as they do in PyTorch. Of a training snapshot the optimiser's tensors and the average are
/// passed over.
///
/// # Errors
/// One [`Error::File`] that counts the keys that are missing, unexpected or of another shape or type,
/// names some of each, and says whose weights they look like; one for a file that says that it is of the other form of
/// text-guided head, whose keys are the same. The weights are untouched then.
pub fn load_state(model: &Model, weights: &mut Weights, checkpoint: &Checkpoint) -> Result<()> {
    check_form(model, checkpoint)?;
    let params = model.tape.params();
    let keys = Keys::of(checkpoint, model.dialect);
    let is_counter = |param: &&Param| param.spec.role == Role::Counter;
    let counts_batches =
        params.iter().filter(is_counter).any(|param| keys.find(&param.name).is_some());
    let mut problems = Problems::default();
    let find = |name: &str| keys.find(name);
    let fits = |expected: &[usize], found: &[usize]| keys.fits(expected, found);
    let sources = problems.sources(params, checkpoint, counts_batches, find, fits)?;
    let known: HashSet<&str> = params.iter().map(|param| param.name.as_str()).collect();
    problems.find_unexpected(checkpoint, &keys, |ours| known.contains(ours));
    problems.check(checkpoint, model)?;
    set_all(weights, checkpoint, sources)
}

/// Loads the moving average that a training snapshot holds.
///
/// # Errors
/// As [`load_state`], but for unexpected keys.
pub fn load_average(model: &Model, weights: &mut Weights, checkpoint: &Checkpoint) -> Result<()> {
    let mut problems = Problems::default();
    let names: HashMap<&str, &str> = checkpoint
        .keys()
        .filter_map(|key| Some((key.strip_prefix(AVERAGE_PREFIX)?, key)))
        .collect();
    let find = |name: &str| names.get(name).copied();
    let fits = |expected: &[usize], found: &[usize]| expected == found;
    let sources = problems.sources(model.tape.params(), checkpoint, true, find, fits)?;
    problems.check(checkpoint, model)?;
    set_all(weights, checkpoint, sources)
}

/// Refuses a file that says that its feature is normalised where the model's isn't, or the other way round.
fn check_form(model: &Model, checkpoint: &Checkpoint) -> Result<()> {
    let Head::TextGuided { width, normalized } = model.head else { return Ok(()) };
    let other = Head::TextGuided { width, normalized: !normalized }.to_string();
    match checkpoint.metadata().get(HEAD) {
        Some(says) if *says == other => {
            let detail = format!("its metadata says '{says}', but the model is {}", model.head);
            Err(Error::file(checkpoint.path(), detail))
        }
        _ => Ok(()),
    }
}

/// Where a parameter's values come from.
pub(super) enum ParameterSource<'c> {
    /// The tensor of this name.
    Tensor(&'c str),
    Count(u32),
}

fn set_all(
    weights: &mut Weights,
    checkpoint: &Checkpoint,
    sources: Vec<ParameterSource>,
) -> Result<()> {
    sources
        .into_iter()
        .enumerate()
        .try_for_each(|(index, source)| set(weights, ParamId(index), checkpoint, source))
}

/// Gives a parameter its values.
pub(super) fn set(
    weights: &mut Weights,
    id: ParamId,
    checkpoint: &Checkpoint,
    source: ParameterSource,
) -> Result<()> {
    match source {
        ParameterSource::Tensor(key) => weights.set(id, &checkpoint.get(key)?.data.into_f32()),
        ParameterSource::Count(count) => weights.set_counter(id, count),
    }
}

/// The value of a counter's tensor, where it is a number that fits. Of a float, what stands behind the
/// point is cut off, as PyTorch does when it loads one.
fn count(data: &TensorData) -> Option<u32> {
    match data {
        TensorData::I64(count) => u32::try_from(*count.first()?).ok(),
        TensorData::F64(count) => cut(*count.first()?),
        TensorData::Bool(_) => None,
        // Every value of the other types is a value of f64; an i32 needs not be one of f32.
        TensorData::I32(count) => u32::try_from(*count.first()?).ok(),
        other => cut(f64::from(*other.to_f32().first()?)),
    }
}

fn cut(count: f64) -> Option<u32> {
    let whole = count.trunc();
    (whole >= 0.0 && whole <= f64::from(u32::MAX)).then_some(whole as u32)
}

/// Whether the tensor's elements are floats.
fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// Scalars had one dimension before PyTorch 0.4, which still loads such files.
fn is_old_scalar(expected: &[usize], found: &[usize]) -> bool {
    expected.is_empty() && found == [1]
}

/// Keys that keep a file from being a model's.
#[derive(Default)]
pub(super) struct Problems {
    missing: Vec<String>,
    unexpected: Vec<String>,
    misshapen: Vec<String>,
    mistyped: Vec<String>,
}

/// So many keys of a kind are named.
const MOST_NAMED: usize = 5;
/// Characters of a key that are shown, with what is wrong with it.
const MOST_KEY: usize = 160;

impl Problems {
    /// Where each parameter's values come from; `find` gives the file's key for a parameter's name,
    /// `fits` says whether a shape in the file is as good as the parameter's.
    ///
    /// Everything is looked at before anything is set, but only counters are kept from here, so that
    /// never more than one large tensor stands beside the weights.
    pub fn sources<'c, 'p>(
        &mut self,
        params: impl IntoIterator<Item = &'p Param>,
        checkpoint: &'c Checkpoint,
        counts_batches: bool,
        find: impl Fn(&str) -> Option<&'c str>,
        fits: impl Fn(&[usize], &[usize]) -> bool,
    ) -> Result<Vec<ParameterSource<'c>>> {
        let mut sources = Vec::new();
        for param in params {
            let is_counter = param.spec.role == Role::Counter;
            // Stands for those that are missing, too, which no model is loaded with.
            let mut source = ParameterSource::Count(0);
            let Some(key) = find(&param.name) else {
                if !is_counter || counts_batches {
                    self.missing.push(param.name.clone());
                }
                sources.push(source);
                continue;
            };
            let (expected, found) = (&param.spec.shape, checkpoint.shape(key)?);
            if !fits(expected, found) && !is_old_scalar(expected, found) {
                self.misshapen.push(format!("{key} (expected {expected:?}, found {found:?})"));
            } else if is_counter {
                match count(&checkpoint.get(key)?.data) {
                    Some(count) => source = ParameterSource::Count(count),
                    None => self
                        .mistyped
                        .push(format!("{key} (expected a whole number from 0 to {})", u32::MAX)),
                }
            } else if let (Role::Index, Init::Given(given)) = (param.spec.role, &param.spec.init)
                && checkpoint.get(key)?.data.into_f32() != given[..]
            {
                let detail = "its indices aren't those of this architecture";
                self.misshapen.push(format!("{key} ({detail})"));
            } else if param.spec.role != Role::Index && !is_float(checkpoint.dtype(key)?) {
                // Quantised values mean nothing without their scale.
                let dtype = checkpoint.dtype(key)?;
                self.mistyped.push(format!("{key} (expected floats, found {dtype:?})"));
            } else {
                source = ParameterSource::Tensor(key);
            }
            sources.push(source);
        }
        Ok(sources)
    }

    /// Notes the keys, in the file's order, that are no parameter's; of a training snapshot the optimiser's tensors and the
    /// average aren't.
    pub fn find_unexpected(
        &mut self,
        checkpoint: &Checkpoint,
        keys: &Keys<'_>,
        is_known: impl Fn(&str) -> bool,
    ) {
        let is_snapshot = checkpoint.metadata().get(KIND).is_some_and(|kind| kind == SNAPSHOT);
        let extra = [OPTIMIZER_PREFIX, AVERAGE_PREFIX];
        let unexpected: HashSet<&str> = keys
            .iter()
            .filter(|(ours, _)| !is_known(ours))
            .map(|(_, theirs)| theirs)
            .filter(|key| !(is_snapshot && extra.iter().any(|prefix| key.starts_with(prefix))))
            .collect();
        self.unexpected =
            checkpoint.keys().filter(|key| unexpected.contains(key)).map(String::from).collect();
    }

    pub fn check(&self, checkpoint: &Checkpoint, model: &Model) -> Result<()> {
        let kinds = [
            ("missing", &self.missing),
            ("unexpected", &self.unexpected),
            ("of another shape", &self.misshapen),
            ("of another type", &self.mistyped),
        ];
        let lists: Vec<String> = kinds
            .iter()
            .filter(|(_, keys)| !keys.is_empty())
            .map(|(kind, keys)| {
                let shown: Vec<String> = keys.iter().map(|key| shorten(key, MOST_KEY)).collect();
                format!("{} {kind}: {}", keys.len(), some_of(&shown, MOST_NAMED))
            })
            .collect();
        if lists.is_empty() {
            return Ok(());
        }
        let Model { head, classes, .. } = model;
        let mut text = format!(
            "doesn't fit the model ({head}, {classes} classes); keys {}",
            lists.join("; keys ")
        );
        let other = looks_like(checkpoint, model);
        text.push_str(&other);
        if let (Some(missing), true, false) =
            (self.missing.first(), other.is_empty(), self.unexpected.is_empty())
        {
            text.push_str(&nearest(checkpoint, missing));
        }
        Err(Error::file(checkpoint.path(), text))
    }
}

/// The end of a sentence about a key that is missing: what there is instead.
fn nearest(checkpoint: &Checkpoint, key: &str) -> String {
    let near = checkpoint.nearest(key);
    if !near.is_empty() {
        return format!("; the nearest to {key}: {}", near.join(", "));
    }
    let keys: Vec<String> =
        checkpoint.keys().take(MOST_NAMED).map(|key| shorten(key, MOST_KEY)).collect();
    format!("; its {} keys begin with {}", checkpoint.len(), keys.join(", "))
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
                Role::Index => TensorData::I64(
                    weights.get(id)?.into_iter().map(|index| index as i64).collect(),
                ),
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

    /// The tensors with their names.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &HostTensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
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

/// Writes a model's state dict as safetensors: names, order of the list, shapes and types are
/// PyTorch's, so that `load_state_dict(load_file(path))` takes it as it is.
///
/// # Errors
/// As [`write_safetensors`], and those of the device.
pub fn save_state(path: &Path, model: &Model, model_name: &str, weights: &Weights) -> Result<()> {
    save_state_as(path, &Facts::of_model(model, model_name), weights)
}

/// As [`save_state`], with all that is known of the model.
///
/// # Errors
/// As [`write_safetensors`], and those of the device.
pub fn save_state_as(path: &Path, facts: &Facts, weights: &Weights) -> Result<()> {
    HostState::read(weights)?.write(path, &facts.metadata())
}

/// The head that a checkpoint of the model of `file` was made with, and its number of classes, read
/// off its keys: text-guided where `head.weight` and `logit_scale` are there. Which form of that head it is only the
/// file's metadata can tell; without it, it is the normalised one.
///
/// # Errors
/// [`Error::File`] where there is no last layer of either kind, or it isn't a matrix, and for a text-guided head that
/// the metadata calls something else.
pub fn detect_head(checkpoint: &Checkpoint, file: &ModelFile) -> Result<(Head, usize)> {
    let rows = |key: &str| match *checkpoint.shape(key)? {
        [rows, columns] if rows > 0 && columns > 0 => Ok((rows, columns)),
        ref shape => {
            let detail = format!("{key} should be a matrix with a row a class, found {shape:?}");
            Err(Error::file(checkpoint.path(), detail))
        }
    };
    if checkpoint.contains(HEAD_ROWS) && checkpoint.contains(LOGIT_SCALE) {
        let (classes, width) = rows(HEAD_ROWS)?;
        let published = Head::text_guided(width);
        let Some(says) = checkpoint.metadata().get(HEAD) else { return Ok((published, classes)) };
        let forms = [published, Head::TextGuided { width, normalized: false }];
        let own = forms.into_iter().find(|form| form.to_string() == *says);
        return match own {
            Some(head) => Ok((head, classes)),
            None => Err(contradiction(checkpoint.path(), says, &published.to_string())),
        };
    }
    let probe = Model::new(file, Head::Baseline, 1, file.input.size, 0.0)?;
    if probe.classes != 1 {
        // A network out of an ONNX file, whose end stays as it is.
        return Ok((Head::Baseline, probe.classes));
    }
    let key = format!("{}.weight", probe.tape.node(probe.last_layer).name);
    if let Some(theirs) = Keys::of(checkpoint, file.dialect()).find(&key) {
        return Ok((Head::Baseline, rows(theirs)?.0));
    }
    let mut text = format!(
        "holds neither head of {}: a baseline has {key}, a text-guided model {HEAD_ROWS} and \
         {LOGIT_SCALE}",
        file.name
    );
    let other = looks_like(checkpoint, &probe);
    text.push_str(&match other.is_empty() {
        _ if checkpoint.is_empty() => "; it holds no tensors".into(),
        true => nearest(checkpoint, &key),
        false => other,
    });
    Err(Error::file(checkpoint.path(), text))
}

/// A file that says `says` of itself, and holds the last layer of `is`.
pub(super) fn contradiction(path: &Path, says: &str, is: &str) -> Error {
    let says = shorten(says, 80);
    Error::file(path, format!("its metadata says '{says}', but its last layer is that of {is}"))
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
