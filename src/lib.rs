//! Flipside trains and evaluates text-guided image classifiers and measures what hardware bit
//! flips do to their answers.
//!
//! Where to begin:
//! - [`campaign`] is the guide to fault injection: a network, images, a [`plan::Plan`], records.
//! - [`analysis`] makes figures of records, [`report`] tables of figures; [`results`] keeps both in files.
//! - [`models`] opens networks and checkpoints, [`train`] trains them, [`data`] reads images.
//! - [`nn`], [`ops`] and [`tape`] record networks of one's own.
//!
//! `examples/own_model.rs` does all of it for a small network.

pub mod analysis;
pub mod bench;
pub mod campaign;
pub mod cases;
pub mod census;
pub mod checkpoint;
pub mod cli;
pub mod commit;
mod cpu;
pub mod data;
pub mod detector;
pub mod device;
pub mod error;
pub mod fault;
mod glob;
pub mod logits;
pub mod models;
pub mod nn;
pub mod number;
pub mod onnx;
pub mod ops;
pub mod page;
pub mod plan;
pub mod progress;
pub mod recipe;
pub mod report;
pub mod reproduce;
pub mod results;
pub mod rng;
pub mod saliency;
pub mod screen;
pub mod statistics;
pub mod study;
pub mod tape;
pub mod tensor;
pub mod text;
pub mod train;
mod xml;

/// Bytes in lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub use error::{Error, Result};
