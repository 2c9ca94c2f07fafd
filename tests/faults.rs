//! Faults: where they appear, and nowhere else.

mod kernels;
mod memory;
