//! Where faults hit: sites, a fault as text, and the table of faults that a kernel reads.

pub mod place;
mod shape;
mod site;
mod spec;
mod table;
mod training;
mod written;

pub use place::Place;
pub use shape::Shape;
pub use site::{Addressed, Site, SiteClass, SiteSpace, ValueKind};
pub use spec::FaultSpec;
pub use table::{FaultEntry, FaultTable};
pub use training::TrainingFault;
