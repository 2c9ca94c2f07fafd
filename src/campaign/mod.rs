//! Injection campaigns: which faults, what they did, where it is kept, and what it means.
//!
//! The path: [`golden::evaluate`] the images fault-free and keep those to inject into,
//! [`ranges::Ranges::measure`] over training images, [`Campaign::run`] a [`Plan`], keep it as a
//! [`Run`], and [`compare::compare`] two of them.

pub mod bootstrap;
mod boxes;
pub mod breakdown;
pub mod compare;
pub mod draw;
pub mod exhaustive;
pub mod golden;
mod images;
pub mod interval;
pub mod layers;
mod list;
pub mod outcome;
mod plan;
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
pub use list::FaultList;
pub use outcome::{Effect, Outcome};
pub use plan::{Flips, Labels, Plan, Shard, Stratify};
pub use ranges::{Detector, Ranges};
pub use record::{Place, Record, Values};
pub use run::{Campaign, Ending, Sink, Strategy, Work};
pub use store::{
    CensusManifest, GoldenRow, LayerRow, Manifest, Provenance, Run, Store, hex, merge, write_csv,
    write_parquet,
};
pub use verify::Verification;
