//! From a pickled object to named tensors: finds the state dict, and where its tensors lie.

use std::collections::HashMap;
use std::ops::Range;

use super::Parsed;
use super::pickle::{Arena, Budget, Pickle, StorageRef, TensorRef, Value};
use super::stored::Stored;
use super::{Contents, quote};

/// The entries of a training checkpoint under which weights are looked for, the first that
/// holds tensors being taken.
const WRAPPERS: [&str; 4] = ["model", "state_dict", "module", "model_ema"];

/// The name of the only tensor of a file that holds no names.
const BARE_NAME: &str = "tensor";

/// Where the bytes of a storage are found.
pub(super) trait Storages<'a> {
    /// Where in the file all the bytes of `storage` lie, its views ignored.
    fn find(&self, storage: &StorageRef<'a>) -> Parsed<Range<usize>>;
    /// Whether the elements are big-endian.
    fn big_endian(&self) -> bool;
}

/// The tensors of a pickled object: a bare tensor, a state dict, or a dict that wraps one.
pub(super) fn contents<'a>(
    pickle: &Pickle<'a>,
    storages: &impl Storages<'a>,
    file_len: usize,
    budget: &mut Budget,
) -> Parsed<Contents> {
    let arena = &pickle.arena;
    // Strides of zero and shared storages let a small file describe huge tensors: allow for
    // honest sharing, and no more.
    let mut decoded_left = file_len.saturating_mul(16).saturating_add(1 << 20);
    let mut take = |name: &str, tensor: &TensorRef<'a>| {
        budget.charge(3 * name.len() + 16 * tensor.shape.len() + 256)?;
        let about = |e: String| format!("tensor {}: {e}", quote(name));
        let stored = locate(tensor, storages).map_err(about)?;
        let left = stored.decoded_len().and_then(|len| decoded_left.checked_sub(len));
        decoded_left = left.ok_or_else(|| {
            let shape = &tensor.shape;
            about(format!("shape {shape:?} takes more memory than a file of this size can need"))
        })?;
        Ok::<_, String>(stored)
    };
    if let Some(tensor) = arena.tensor(pickle.root) {
        return Ok(Contents {
            tensors: vec![(BARE_NAME.into(), take(BARE_NAME, tensor)?)],
            ..Contents::default()
        });
    }
    let (dict, wrappers) = unwrap(arena, pickle.root);
    let named = named_tensors(arena, dict)?;
    if named.is_empty() {
        return Err(no_tensors(arena, pickle.root));
    }
    let prefix = if in_wrapper_module(&named) { "module." } else { "" };
    let mut tensors = Vec::with_capacity(named.len());
    for (name, tensor) in named {
        // A weight average counts its steps beside the `module.` that it wraps.
        if let Some(name) = name.strip_prefix(prefix) {
            tensors.push((name.to_string(), take(name, tensor)?));
        }
    }
    Ok(Contents { tensors, wrappers, ..Contents::default() })
}

/// Goes down through the wrappers around a state dict; the names passed are returned with it.
fn unwrap<'a>(arena: &Arena<'a>, root: Value<'a>) -> (Value<'a>, Vec<String>) {
    let (mut value, mut passed) = (root, Vec::new());
    // Two levels are seen in the wild; the bound ends a dict that contains itself.
    while passed.len() < 4 {
        let inner = WRAPPERS.iter().find_map(|&name| {
            let inner = lookup(arena, value, name)?;
            let pairs = arena.dict(inner)?;
            let wrapped = |&(key, value): &(Value<'a>, Value<'a>)| {
                let wrapper = matches!(key, Value::Str(key) if WRAPPERS.contains(&key));
                arena.tensor(value).is_some() || (wrapper && arena.dict(value).is_some())
            };
            pairs.iter().any(wrapped).then_some((name, inner))
        });
        let Some((name, inner)) = inner else { break };
        passed.push(name.to_string());
        value = inner;
    }
    (value, passed)
}

fn lookup<'a>(arena: &Arena<'a>, dict: Value<'a>, name: &str) -> Option<Value<'a>> {
    let pairs = arena.dict(dict)?;
    let found = pairs.iter().rev().find(|(key, _)| matches!(key, Value::Str(k) if *k == name));
    found.map(|&(_, value)| value)
}

/// The tensors of a dict in its order. Entries that aren't tensors (an epoch) are left out; a
/// tensor without a name is an error, never skipped.
fn named_tensors<'b, 'a>(
    arena: &'b Arena<'a>,
    dict: Value<'a>,
) -> Parsed<Vec<(&'a str, &'b TensorRef<'a>)>> {
    let mut named: Vec<(&'a str, &'b TensorRef<'a>)> = Vec::new();
    let mut places = HashMap::new();
    for &(key, value) in arena.dict(dict).unwrap_or(&[]) {
        let Some(tensor) = arena.tensor(value) else { continue };
        let Value::Str(name) = key else {
            return Err(format!("it holds a tensor under {} instead of a name", arena.kind(key)));
        };
        let place = *places.entry(name).or_insert(named.len());
        match named.get_mut(place) {
            Some(earlier) => *earlier = (name, tensor),
            None => named.push((name, tensor)),
        }
    }
    Ok(named)
}

/// Whether the names are those of a DataParallel model, or of an average over a model.
fn in_wrapper_module(named: &[(&str, &TensorRef<'_>)]) -> bool {
    named.iter().any(|(name, _)| name.starts_with("module."))
        && named.iter().all(|(name, _)| name.starts_with("module.") || *name == "n_averaged")
}

fn no_tensors(arena: &Arena<'_>, root: Value<'_>) -> String {
    let Some(pairs) = arena.dict(root) else {
        return format!("it holds {}, not a tensor or a state dict", arena.kind(root));
    };
    let keys: Vec<String> = pairs
        .iter()
        .take(8)
        .map(|(key, value)| match key {
            Value::Str(key) => format!("{} ({})", quote(key), arena.kind(*value)),
            other => arena.kind(*other).to_string(),
        })
        .collect();
    if keys.is_empty() {
        return "it holds an empty dict, not a state dict".into();
    }
    let more = if pairs.len() > keys.len() { ", ..." } else { "" };
    format!("it holds a dict without a state dict; its entries are {}{more}", keys.join(", "))
}

/// Where a tensor lies in the file.
fn locate<'a>(tensor: &TensorRef<'a>, storages: &impl Storages<'a>) -> Parsed<Stored> {
    let TensorRef { storage, offset, shape, strides, negated } = tensor;
    let outside = || format!("shape {shape:?} reaches outside its storage");
    let bytes = storages.find(storage)?;
    let bytes = match storage.view {
        None => bytes,
        Some((first, len)) => part(bytes, storage.dtype.size(), first, len).ok_or_else(outside)?,
    };
    let big_endian = storages.big_endian();
    let stored = Stored::strided(storage.dtype, shape, strides, bytes, *offset, big_endian);
    Ok(stored.ok_or_else(outside)?.negated(*negated))
}

/// `len` elements of `size` bytes from element `first` of `whole`.
fn part(whole: Range<usize>, size: usize, first: usize, len: usize) -> Option<Range<usize>> {
    let start = whole.start.checked_add(first.checked_mul(size)?)?;
    let end = start.checked_add(len.checked_mul(size)?)?;
    (end <= whole.end).then_some(start..end)
}
