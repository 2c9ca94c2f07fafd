//! A pickle reader that executes nothing: an interpreter of the opcodes that `torch.save`
//! and Python's pickle write (protocols 2 to 5), with an allow-list of names and a bound on work and memory.

mod arrays;
mod machine;
mod rebuild;
mod value;

pub(super) use value::{Arena, PickleNode, PickleNodeId, StorageRef, TensorRef, Value};

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::tensor::Dtype;
use super::{Parsed, quote};
use machine::Machine;

/// Which classes and functions a pickle may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AllowedNames {
    /// What describes tensors; NumPy's values stand beside them and aren't looked into.
    Tensors,
    /// What describes NumPy's arrays of bytes, and nothing else.
    Arrays,
}

/// One pickle, read.
pub(super) struct Pickle<'a> {
    pub root: Value<'a>,
    pub arena: Arena<'a>,
    /// Where the byte after the pickle's end lies in the input.
    pub end: usize,
}

/// Bytes of memory that the pickles of one file may still take, all together.
///
/// Values take more room here than in a pickle: an honest state dict about 2 kB a tensor, for 100 to
/// 200 bytes of pickle. So a file may take some times its own length, and a small one a megabyte.
pub(super) struct Budget(usize);

impl Budget {
    /// What the pickles in a file of `len` bytes may take.
    pub fn for_file(len: usize) -> Budget {
        Budget(len.saturating_mul(12).saturating_add(1 << 20))
    }

    /// Takes `bytes` off what is left. An upper bound on time, too: whatever isn't charged for takes
    /// a bounded time for each byte of the pickle. A remembered value costs a byte or two to name again,
    /// so that what is as long as a file can make it (a name, a dict) is charged for each time that it is
    /// gone through.
    pub fn charge(&mut self, bytes: usize) -> Parsed<()> {
        match self.0.checked_sub(bytes) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => Err("its pickle takes more memory than a file of this size can need".into()),
        }
    }
}

/// Reads the pickle that starts at `start`. Errors are half sentences about the file.
pub(super) fn read<'a>(input: &'a [u8], start: usize, budget: &mut Budget) -> Parsed<Pickle<'a>> {
    let pickle = Machine::new(input, start, budget, AllowedNames::Tensors).run()?;
    check_storages(&pickle.arena, budget)?;
    Ok(pickle)
}

/// As [`read`], of a pickle of plain values and NumPy's arrays of bytes.
pub(super) fn read_arrays<'a>(input: &'a [u8], budget: &mut Budget) -> Parsed<Pickle<'a>> {
    Machine::new(input, 0, budget, AllowedNames::Arrays).run()
}

/// One storage has one element type and one length, however often it is named: PyTorch goes by the
/// first, and writes no other file.
fn check_storages(arena: &Arena<'_>, budget: &mut Budget) -> Parsed<()> {
    let mut known = HashMap::new();
    for node in arena.nodes() {
        let PickleNode::Storage(storage) = node else { continue };
        let about = (storage.dtype, storage.len);
        match known.entry(storage.key) {
            Entry::Vacant(free) => {
                budget.charge(3 * size_of::<(&str, (Dtype, usize))>())?;
                free.insert(about);
            }
            Entry::Occupied(first) if *first.get() == about => {}
            Entry::Occupied(_) => {
                let key = quote(storage.key);
                return Err(format!("its data {key} is given two element types or lengths"));
            }
        }
    }
    Ok(())
}
