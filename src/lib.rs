//! Flipside trains and evaluates text-guided image classifiers and measures what hardware bit
//! flips do to their answers.

pub mod bench;
pub mod campaign;
pub mod checkpoint;
pub mod cli;
pub mod data;
pub mod device;
pub mod error;
pub mod fault;
pub mod models;
pub mod nn;
pub mod ops;
pub mod progress;
pub mod recipe;
pub mod report;
pub mod rng;
pub mod screen;
pub mod study;
pub mod tape;
pub mod tensor;
pub mod text;
pub mod train;

pub use error::{Error, Result};
