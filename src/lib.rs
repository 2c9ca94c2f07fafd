//! Flipside trains and evaluates text-guided image classifiers and measures what hardware bit
//! flips do to their answers.

pub mod data;
pub mod error;
pub mod rng;
pub mod text;

pub use error::{Error, Result};
