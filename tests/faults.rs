//! Faults: where they appear, and nowhere else.

mod coordinates;
pub mod kernels;
mod memory;
pub mod nan;
pub mod words;
