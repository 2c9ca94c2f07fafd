//! From a pickled object to named tensors: finds the state dict, copies its tensors out.

use std::collections::HashMap;

use super::Parsed;
use super::pickle::{Arena, Pickle, StorageRef, TensorRef, Value};
use super::tensor::{HostTensor, TensorData, element_count};
use super::{Contents, quote};

/// The entries of a training checkpoint under which weights are looked for, the first that
/// holds tensors being taken.
const WRAPPERS: [&str; 4] = ["model", "state_dict", "module", "model_ema"];

/// The name of the only tensor of a file that holds no names.
const BARE_NAME: &str = "tensor";

/// Where the bytes of a storage are found.
pub(super) trait Storages<'a> {
    /// All the bytes of `storage`, its views ignored.
    fn bytes(&self, storage: &StorageRef<'a>) -> Parsed<&'a [u8]>;
    /// Whether the elements are big-endian.
    fn big_endian(&self) -> bool;
    /// Length of the file that holds them.
    fn file_len(&self) -> usize;
}

/// The tensors of a pickled object: a bare tensor, a state dict, or a dict that wraps one.
pub(super) fn contents<'a>(pickle: &Pickle<'a>, storages: &impl Storages<'a>) -> Parsed<Contents> {
    let arena = &pickle.arena;
    // Strides of zero and shared storages let a small file describe huge tensors: allow for
    // honest sharing, and no more.
    let mut budget = storages.file_len().saturating_mul(16).saturating_add(1 << 24);
    let mut take = |name: &str, tensor: &TensorRef<'a>| {
        copy_out(tensor, storages, &mut budget).map_err(|e| format!("tensor {}: {e}", quote(name)))
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

/// Copies a tensor out of its storage, contiguous and row-major.
fn copy_out<'a>(
    tensor: &TensorRef<'a>,
    storages: &impl Storages<'a>,
    budget: &mut usize,
) -> Parsed<HostTensor> {
    let TensorRef { storage, offset, shape, strides } = tensor;
    let size = storage.dtype.size();
    let outside = || format!("shape {shape:?} reaches outside its storage");
    let bytes = storages.bytes(storage)?;
    let (view_start, view_len) = storage.view.unwrap_or((0, storage.len));
    let bytes = byte_range(bytes, view_start, view_len, size).ok_or_else(outside)?;

    let count = element_count(shape).ok_or_else(outside)?;
    let len = count.checked_mul(size).ok_or_else(outside)?;
    *budget = budget.checked_sub(len).ok_or_else(|| {
        format!("shape {shape:?} takes more memory than a file of this size can need")
    })?;
    let data = if count == 0 {
        TensorData::from_bytes(storage.dtype, &[], false)
    } else if is_row_major(shape, strides) {
        let packed = byte_range(bytes, *offset, count, size).ok_or_else(outside)?;
        TensorData::from_bytes(storage.dtype, packed, storages.big_endian())
    } else {
        let reach = last_element(*offset, shape, strides).ok_or_else(outside)?;
        byte_range(bytes, reach, 1, size).ok_or_else(outside)?;
        let packed = gather(bytes, size, *offset, shape, strides, count);
        TensorData::from_bytes(storage.dtype, &packed, storages.big_endian())
    };
    Ok(HostTensor { shape: shape.clone(), data })
}

fn byte_range(bytes: &[u8], start: usize, count: usize, size: usize) -> Option<&[u8]> {
    let start = start.checked_mul(size)?;
    bytes.get(start..start.checked_add(count.checked_mul(size)?)?)
}

fn is_row_major(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1usize;
    shape.iter().zip(strides).rev().all(|(&n, &stride)| {
        let fits = n == 1 || stride == expected;
        expected = expected.saturating_mul(n);
        fits
    })
}

/// The largest element index that a tensor without empty dimensions touches.
fn last_element(offset: usize, shape: &[usize], strides: &[usize]) -> Option<usize> {
    shape.iter().zip(strides).try_fold(offset, |at, (&n, &stride)| {
        at.checked_add(n.checked_sub(1)?.checked_mul(stride)?)
    })
}

/// Reads `count` elements of `size` bytes in row-major order; every index is known to be inside.
fn gather(
    bytes: &[u8],
    size: usize,
    offset: usize,
    shape: &[usize],
    strides: &[usize],
    count: usize,
) -> Vec<u8> {
    let mut packed = Vec::with_capacity(count * size);
    let mut index = vec![0usize; shape.len()];
    let mut at = offset;
    for _ in 0..count {
        packed.extend_from_slice(&bytes[at * size..(at + 1) * size]);
        for d in (0..shape.len()).rev() {
            index[d] += 1;
            if index[d] < shape[d] {
                at += strides[d];
                break;
            }
            at -= (shape[d] - 1) * strides[d];
            index[d] = 0;
        }
    }
    packed
}
