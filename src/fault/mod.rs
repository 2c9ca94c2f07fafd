//! What can break: sites, fault models, and the fault table that a kernel reads.

mod field;
mod model;
pub mod place;
mod shape;
mod site;
mod spec;
mod table;
mod written;

pub use field::Field;
pub(crate) use model::parse_bits;
pub use model::{BitMasks, FaultModel, canonical};
pub use place::Place;
pub use shape::Shape;
pub use site::{Addressed, Format, Site, SiteClass, SiteSpace, ValueKind};
pub use spec::FaultSpec;
pub use table::{FaultEntry, FaultTable};
