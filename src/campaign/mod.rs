//! Injection campaigns: which faults, what they did, where it is kept, and what it means.
//!
//! The path: [`golden::evaluate`] the images fault-free and keep those to inject into,
//! [`ranges::Ranges::measure`] over training images, [`Campaign::run`] a [`Plan`], keep it as a
//! [`Run`], and [`compare::compare`] two of them.

pub mod bootstrap;
mod boxes;
pub mod breakdown;
pub mod compare;
mod csv;
pub mod draw;
pub mod golden;
mod images;
pub mod interval;
pub mod layers;
pub mod outcome;
pub mod ranges;
mod record;
mod run;
pub mod statistics;
pub mod stopping;
mod store;
mod verify;
mod whole;

pub use golden::{Golden, Judged};
pub use images::{Images, MemoryImages};
pub use layers::{Layer, Part};
pub use outcome::{Effect, Outcome};
pub use ranges::{Detector, Ranges};
pub use record::{Plan, Record};
pub use run::{Campaign, Strategy};
pub use store::{GoldenRow, INJECTIONS, LayerRow, MANIFEST, Manifest, Provenance, Run, hex};
pub use verify::Verification;
