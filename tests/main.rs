//! The one integration-test binary: a module a subject.

mod campaign;
mod checkpoint;
mod data;
mod emulator;
mod formula;
mod kernels;
mod ops;
mod pytorch_networks;
mod tape;
mod text;
