//! The one integration-test binary: a module a subject.

mod checkpoint;
mod emulator;
mod ops;
