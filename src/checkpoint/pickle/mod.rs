//! A pickle reader that executes nothing: an interpreter of the opcodes that `torch.save`
//! writes (protocols 2 to 5), with an allow-list of names and a bound on work and memory.

mod machine;
mod rebuild;
mod value;

pub(super) use value::{Arena, Node, StorageRef, TensorRef, Value};

use super::Parsed;
use machine::Machine;

/// One pickle, read.
pub(super) struct Pickle<'a> {
    pub root: Value<'a>,
    pub arena: Arena<'a>,
    /// Where the byte after the pickle's end lies in the input.
    pub end: usize,
}

/// Reads the pickle that starts at `start`. Errors are half sentences about the file.
pub(super) fn read(input: &[u8], start: usize) -> Parsed<Pickle<'_>> {
    Machine::new(input, start).run()
}
