//! Injection campaigns: which faults, where they hit, and how they are run.
//!
//! # From a model to figures
//!
//! 1. A [`Network`](crate::models::Network): a [`Model`](crate::models::Model) of a file, or recorded from
//!    operations by [`Model::record`](crate::models::Model::record), with weights.
//! 2. Evaluation images: anything that is [`Images`]. [`Experiment::evaluate`] runs them fault-free; keep the
//!    answers that are right, or hold each against itself by
//!    [`Labels::Golden`](crate::plan::Labels::Golden).
//! 3. For the detector `range` the largest value of each layer over training images, by
//!    [`Experiment::measure_ranges`].
//! 4. A [`Plan`](crate::plan::Plan): seed, injections a layer, site, bits, layers, detectors. Injection n of a
//!    layer follows from seed, layer and n alone. A [`pilot`](fn@pilot) and
//!    [`allocate`](crate::analysis::allocate) say how many injections bits and layers are to have, where they
//!    aren't to have equally many.
//! 5. A [`Campaign`] of experiment and plan, and [`Campaign::run`], which gives
//!    [`Record`](crate::results::Record)s: one an injection and detector.
//! 6. [`Campaign::results`] makes a [`Run`](crate::results::Run) of them, records and a manifest of what was run
//!    on what. It is saved and opened as one file, written by [`write_csv`](crate::results::write_csv) or
//!    [`write_parquet`](crate::results::write_parquet), taken apart by
//!    [`breakdown`](crate::analysis::breakdown), compared by [`compare`](crate::analysis::compare).
//!
//! ```no_run
//! use flipside::campaign::{Campaign, Experiment, MemoryImages};
//! use flipside::models::{Model, ModelFile, Network};
//! use flipside::{checkpoint::Checkpoint, detector::Detector, device::Device, nn::Head};
//! use flipside::{plan::{Labels, Plan}, progress::Silent, results::{Golden, Outcome}};
//!
//! # fn main() -> flipside::Result<()> {
//! let model = Model::new(&ModelFile::open("resnet18")?, Head::Baseline, 1000, 224, 0.0)?;
//! let checkpoint = Checkpoint::open("resnet18.pth".as_ref())?;
//! let network = Network::load(model, &checkpoint, &Device::cpu())?;
//!
//! // Normalised pixels, N × 224 × 224 × 3, and a label each.
//! let images = MemoryImages { pixels: vec![0.0; 2 * 224 * 224 * 3], labels: vec![3, 7] };
//! let mut experiment = Experiment::evaluate(&network, &images, &[0, 1], Labels::Data, 2, &Silent)?;
//! experiment.goldens.retain(Golden::is_right);
//! experiment.provenance.model = "resnet18".into();
//!
//! let plan = Plan { detectors: vec![Detector::None], ..Plan::new(1, 1000) };
//! let campaign = Campaign::new(&experiment, plan)?;
//! let records = campaign.run(campaign.best_strategy(), &Silent)?;
//! let sdc = records.iter().filter(|record| record.effect.outcome == Outcome::Sdc).count();
//! println!("{sdc} of {} answers are silently wrong", records.len());
//! campaign.results(records).save("run.sqlite".as_ref())?;
//! # Ok(())
//! # }
//! ```
//!
//! # What can be stopped
//!
//! [`Campaign::run_part`] runs what of a [`Shard`](crate::plan::Shard) isn't done yet and hands records to a
//! [`Sink`](crate::results::Sink) as they come. A [`Store`](crate::results::Store) is one that keeps them in a
//! file: `Store::create` begins, `Store::resume` says what is done already, and
//! [`merge`](crate::results::merge) puts shards together. The rows are the same whichever way they came about.
//!
//! `examples/own_model.rs` injects into a network of its own; `docs/reading-results.md` explains what is kept.

pub mod draw;
mod experiment;
mod fault_free;
pub mod goldeneye;
mod images;
pub mod layers;
mod list;
mod manifest;
mod partial;
mod pilot;
mod ranges;
mod ranges_file;
mod rerun;
mod rounds;
mod run;
mod schedule;
mod scheduler;
mod setup;
mod sparse;
mod tail;
mod tasks;
mod trial;
mod verify;
mod whole;

pub use experiment::Experiment;
pub(crate) use experiment::forward_passes;
pub use fault_free::FEWEST_FITTED;
pub(crate) use images::load_batch;
pub use images::{Images, MemoryImages};
pub use layers::{Layer, choose};
pub use list::FaultList;
pub use partial::Partial;
pub use pilot::{pilot, pilot_seed};
pub use ranges::Ranges;
pub use ranges_file::{RangesFile, RangesOf};
pub use rerun::Rerun;
pub use scheduler::Strategy;
pub use setup::{Campaign, layers_of};
pub use tasks::Ending;
pub use verify::Verification;
