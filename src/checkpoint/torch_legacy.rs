//! `.pth` as PyTorch wrote it before 1.6: five pickles in a row (a magic number, a version, facts
//! about the machine, the object, the keys of its storages), then the storages in that order.

use std::collections::HashMap;
use std::ops::Range;

use super::Contents;
use super::Parsed;
use super::pickle::{self, Budget, PickleNode, StorageRef, Value};
use super::quote;
use super::state_dict::{self, Storages};
use super::tensor::Dtype;
use super::wanted::Wanted;

/// 0x1950a86a20f9469cfc6c, as a pickled integer has it: little-endian.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const VERSION: i64 = 1001;

/// The tensors of a legacy `.pth` file. Errors are half sentences about the file.
pub(super) fn read(bytes: &[u8], wanted: Option<&Wanted<'_>>) -> Parsed<Contents> {
    let budget = &mut Budget::for_file(bytes.len());
    let magic = pickle::read(bytes, 0, budget)?;
    if !matches!(magic.root, Value::Long(number) if number == MAGIC) {
        return Err("it is a pickle, but torch.save didn't write it (no magic number)".into());
    }
    let version = pickle::read(bytes, magic.end, budget)?;
    if !matches!(version.root, Value::Int(VERSION)) {
        return Err("its version of the format before PyTorch 1.6 is unknown".into());
    }
    let machine = pickle::read(bytes, version.end, budget)?;
    let object = pickle::read(bytes, machine.end, budget)?;
    let keys = pickle::read(bytes, object.end, budget)?;
    let Some(PickleNode::List(items)) = keys.arena.get(keys.root) else {
        return Err("its list of storages is missing".into());
    };

    let types = element_types(&object);
    let mut spans = HashMap::new();
    let mut at = keys.end;
    for &item in items {
        let Value::Str(key) = item else { return Err("it names a storage by no text".into()) };
        let truncated = || format!("it is truncated: its data {} isn't complete", quote(key));
        let dtype = *types
            .get(key)
            .ok_or_else(|| format!("it holds data {} that nothing in it refers to", quote(key)))?;
        let start = at + 8;
        let count = bytes.get(at..start).and_then(|b| Some(i64::from_le_bytes(b.try_into().ok()?)));
        let count = count.and_then(|n| usize::try_from(n).ok()).ok_or_else(truncated)?;
        let end = count.checked_mul(dtype.size()).and_then(|len| start.checked_add(len));
        let end = end.filter(|&end| end <= bytes.len()).ok_or_else(truncated)?;
        if spans.insert(key, start..end).is_some() {
            return Err(format!("it lists its data {} twice", quote(key)));
        }
        at = end;
    }
    state_dict::contents(&object, &spans, bytes.len(), budget, wanted)
}

/// The element type of each storage that the object refers to.
fn element_types<'a>(object: &pickle::Pickle<'a>) -> HashMap<&'a str, Dtype> {
    let storages = object.arena.nodes().filter_map(|node| match node {
        PickleNode::Storage(storage) => Some((storage.key, storage.dtype)),
        _ => None,
    });
    storages.collect()
}

impl<'a> Storages<'a> for HashMap<&'a str, Range<usize>> {
    fn name_len(&self, storage: &StorageRef<'a>) -> usize {
        storage.key.len()
    }

    fn find(&self, storage: &StorageRef<'a>) -> Parsed<Range<usize>> {
        let key = quote(storage.key);
        let bytes = self.get(storage.key).cloned();
        let bytes = bytes.ok_or_else(|| format!("its data {key} is missing from the file"))?;
        if storage.len.checked_mul(storage.dtype.size()) == Some(bytes.len()) {
            Ok(bytes)
        } else {
            Err(format!("its data {key} isn't of the stated {} elements", storage.len))
        }
    }

    /// This format is little-endian whatever machine wrote it.
    fn big_endian(&self) -> bool {
        false
    }
}
