//! What a campaign found: records, what was run on what, and the files that keep both.

pub(crate) mod choice;
mod config;
mod counted;
mod csv;
mod difference;
mod fault_free;
mod golden;
mod layer;
mod manifest;
mod measure;
mod outcome;
mod parquet;
mod record;
mod rows;
mod run;
pub(crate) mod store;
mod work;

pub use config::Config;
pub use counted::{Counted, MOST_COUNTED};
pub use csv::write as write_csv;
pub use fault_free::{FalseAlarms, FaultFree};
pub use golden::{Golden, mean_logit_range, mean_top2diff};
pub use layer::{LayerRow, Part};
pub use manifest::{GoldenRow, Manifest, Provenance, RangesOver, Setting};
pub use measure::{Measure, NONFINITE_LOSS, unit_of};
pub use outcome::{Effect, Outcome};
pub use parquet::write as write_parquet;
pub use record::{Direction, HitElement, Record, Values};
pub(crate) use rows::{COLUMNS, is_rescaled};
pub use run::Run;
pub use store::{Store, is_store, merge, note_verified, verified};
pub use work::{Sink, Watched, Work};
