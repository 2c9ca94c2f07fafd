//! From records to figures: rates, quantiles and means with their intervals, tables, and comparisons.

mod allocate;
pub mod breakdown;
mod column;
pub mod compare;
pub mod goldeneye;
mod over_seeds;
pub mod picture;
mod quantiles;
mod rates;
mod require;
mod scope;
mod stopping;
pub mod worst;

pub use allocate::{PILOT, allocate, check_budget};
pub use column::{Arranged, Arrangement, LeftOut, ReportColumn};
pub use over_seeds::over_seeds;
pub use quantiles::{Quantiles, quantile};
pub use rates::{Intervals, Rates, Selection, check_mean, select};
pub use require::{Checked, Decision, Requirement, check};
pub use scope::{Scope, Weighting, last_layer};
pub use stopping::{Stopped, looks, stopped, stopped_words};
