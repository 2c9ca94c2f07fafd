//! Kernels with one deliberate error each, compiled for the emulator. A crate of its own, so that only tests
//! compile them: the files of `kernels/emulator/testing/mutants/`, by `build.rs` beside this.

use flipside::device::kernels::Mutant;

/// A mutant, and what its file says of it.
#[derive(Debug)]
pub struct MutantFile {
    /// The error, as [`flipside::device::EmulatorOptions`] takes it.
    pub mutant: Mutant,
    /// The kernel file that has it.
    pub file: &'static str,
    /// The kinds of operations that the test is narrowed to; empty: all.
    pub cases: &'static [&'static str],
    /// The test that fails under it: module and function.
    pub test: &'static str,
    /// What the error is like.
    pub why: &'static str,
}

/// Every error; none where kernels are compiled for sanitizers.
pub static MUTANTS: &[MutantFile] = include!(concat!(env!("OUT_DIR"), "/mutants.rs"));
