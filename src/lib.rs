//! Flipside trains and evaluates text-guided image classifiers and measures what hardware bit
//! flips do to their answers.

pub mod error;
pub mod rng;

pub use error::{Error, Result};
