//! Faults: where they appear, and nowhere else.

pub mod kernels;
mod memory;
pub mod nan;
