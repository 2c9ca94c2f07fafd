//! The one integration-test binary: a module a subject.
mod emulator;
mod ops;
