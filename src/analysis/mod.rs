//! From records to figures: rates, quantiles and means with their intervals, tables, and comparisons.

pub mod breakdown;
pub mod compare;
pub mod goldeneye;
mod rates;
mod stopping;

pub use rates::{
    Intervals, Quantiles, Rates, Scope, Selection, Weighting, check_mean, delta_loss_quantiles,
    last_layer, quantile, select,
};
pub use stopping::{Stopped, looks, stopped};
