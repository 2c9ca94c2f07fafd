//! The argument structs of the kernels, which the build generates from `kernels/`. A field that is added,
//! renamed or removed in CUDA is a compile error where Rust makes the struct.
//!
//! Addresses of device memory are `u64`.

use super::KernelArgs;

include!(concat!(env!("OUT_DIR"), "/kernel_args.rs"));
