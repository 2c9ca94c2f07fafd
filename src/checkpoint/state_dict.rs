//! From a pickled object to named tensors: finds the state dict, and where its tensors lie.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;

use super::Parsed;
use super::pickle::{Arena, Budget, Pickle, PickleNodeId, StorageRef, TensorRef, Value};
use super::search;
use super::search::MOST_DEEP;
use super::select::{self, Chosen, Group};
use super::stored::Stored;
use super::wanted::Wanted;
use super::{Contents, quote};

/// The name of the only tensor of a file that holds no names.
const BARE_NAME: &str = "tensor";

/// Where the bytes of a storage are found.
pub(super) trait Storages<'a> {
    /// Where in the file all the bytes of `storage` lie, its views ignored.
    fn find(&self, storage: &StorageRef<'a>) -> Parsed<Range<usize>>;
    /// Bytes of the name by which [`find`](Storages::find) looks a storage up.
    fn name_len(&self, storage: &StorageRef<'a>) -> usize;
    /// Whether the elements are big-endian.
    fn big_endian(&self) -> bool;
}

/// The tensors of a pickled object: a bare tensor, a state dict, or a dict that wraps some, of which
/// the `wanted` are taken.
pub(super) fn contents<'a>(
    pickle: &Pickle<'a>,
    storages: &impl Storages<'a>,
    file_len: usize,
    budget: &mut Budget,
    wanted: Option<&Wanted<'_>>,
) -> Parsed<Contents> {
    let arena = &pickle.arena;
    // Strides of zero and shared storages let a small file describe huge tensors: allow for
    // honest sharing, and no more.
    let mut decoded_left = file_len.saturating_mul(16).saturating_add(1 << 20);
    let mut take = |name: &str, tensor: &TensorRef<'a>, budget: &mut Budget| {
        budget.charge(3 * name.len() + 16 * tensor.shape.len() + 256)?;
        budget.charge(storages.name_len(&tensor.storage))?;
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
            tensors: vec![(BARE_NAME.into(), take(BARE_NAME, tensor, budget)?)],
            ..Contents::default()
        });
    }
    let groups = groups(arena, pickle.root, budget)?;
    let chosen = select::choose(&groups, wanted)?;
    let Chosen { wrappers, tensors: named, choice } =
        chosen.ok_or_else(|| no_tensors(arena, pickle.root))?;
    let mut tensors = Vec::with_capacity(named.len());
    for (name, tensor) in named {
        let Named { tensor, key } = tensor;
        if !matches!(key, Value::Str(_)) {
            return Err(format!("it holds a tensor under {} instead of a name", arena.kind(key)));
        }
        let stored = take(&name, tensor, budget)?;
        tensors.push((name, stored));
    }
    Ok(Contents { tensors, wrappers, choice, ..Contents::default() })
}

/// A tensor in a dict, with its key.
#[derive(Clone, Copy)]
struct Named<'b, 'a> {
    key: Value<'a>,
    tensor: &'b TensorRef<'a>,
}

impl PartialEq for Named<'_, '_> {
    fn eq(&self, other: &Self) -> bool {
        self.tensor == other.tensor
    }
}

/// How often at most a dict is gone through that several others hold.
const MOST_VISITS: u8 = 4;
/// Bytes of memory for an entry of a dict that is gone through: its key in a set, its tensor's place, the
/// name in the groups and in what is chosen of them.
const ENTRY: usize = 256;

/// The dicts that hold tensors, the outer ones first. Entries that aren't tensors (an epoch) are
/// left out, and so is all that an optimiser keeps.
fn groups<'b, 'a>(
    arena: &'b Arena<'a>,
    root: Value<'a>,
    budget: &mut Budget,
) -> Parsed<Vec<Group<'a, Named<'b, 'a>>>> {
    let mut groups = Vec::new();
    let mut visits: HashMap<PickleNodeId, u8> = HashMap::new();
    let mut queue = VecDeque::from([(root, Vec::new())]);
    while let Some((value, path)) = queue.pop_front() {
        let (Some(pairs), Value::Node(id)) = (arena.dict(value), value) else { continue };
        let count = visits.entry(id).or_default();
        if *count == MOST_VISITS {
            continue;
        }
        *count += 1;
        // Names take time wherever they are met: one of them may be the key of many dicts, stand on the
        // way to many, or be the storage of many tensors.
        let on_the_way: usize = path.iter().map(|name: &&str| name.len()).sum();
        budget.charge(ENTRY * (pairs.len() + 1) + on_the_way)?;
        let mut keys = HashSet::with_capacity(pairs.len());
        let (mut tensors, mut has_unnamed) = (Vec::new(), false);
        for &(key, value) in pairs {
            let name = match key {
                Value::Str(name) => name,
                _ => "",
            };
            budget.charge(name.len())?;
            if matches!(key, Value::Str(_)) && !keys.insert(name) {
                return Err(format!("it holds a dict with the key {} twice", quote(name)));
            }
            if let Some(tensor) = arena.tensor(value) {
                budget.charge(tensor.storage.key.len())?;
                // One tensor without a name is enough: taking it is an error.
                let is_unnamed = !matches!(key, Value::Str(_));
                if !(is_unnamed && has_unnamed) {
                    tensors.push((name, Named { key, tensor }));
                }
                has_unnamed |= is_unnamed;
            } else if arena.dict(value).is_some()
                && path.len() < MOST_DEEP
                && !name.is_empty()
                && !search::is_training_state(name)
            {
                queue.push_back((value, [&path[..], &[name]].concat()));
            }
        }
        if !tensors.is_empty() {
            groups.push(Group { path, tensors });
        }
    }
    Ok(groups)
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
