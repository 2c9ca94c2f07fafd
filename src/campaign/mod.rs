//! Injection campaigns: which faults, where they hit, and how they are run.
//!
//! # From a model to figures
//!
//! 1. A [`Model`](crate::models::Model) of a file, or recorded from operations by
//!    [`Model::record`](crate::models::Model::record), and its [`Weights`](crate::tape::Weights).
//! 2. Evaluation images: anything that is [`Images`]. [`golden::evaluate`] runs them fault-free; keep the
//!    answers that are right, or hold each against itself by [`golden::evaluate_unlabeled`].
//! 3. For the detector `range` the largest value of each layer, by [`Ranges::measure`] over training images;
//!    else `Ranges::default()`.
//! 4. A [`Plan`](crate::plan::Plan): seed, injections a layer, site, bits, layers, detectors. Injection n of a
//!    layer follows from seed, layer and n alone.
//! 5. A [`Campaign`] of all these, and [`Campaign::run`], which gives
//!    [`Record`](crate::results::Record)s: one an injection and detector.
//! 6. [`Campaign::results`] makes a [`Run`](crate::results::Run) of them, records and a manifest of what was run
//!    on what. It is saved and opened as one file, written by [`write_csv`](crate::results::write_csv) or
//!    [`write_parquet`](crate::results::write_parquet), taken apart by
//!    [`breakdown`](crate::analysis::breakdown), compared by [`compare`](crate::analysis::compare).
//!
//! ```no_run
//! use flipside::campaign::{Campaign, MemoryImages, Ranges, golden};
//! use flipside::models::{Model, ModelFile, load_state};
//! use flipside::{checkpoint::Checkpoint, device::Device, nn::Head, progress::Silent, tape::Weights};
//! use flipside::{detector::Detector, plan::Plan, results::{Outcome, Provenance}};
//!
//! # fn main() -> flipside::Result<()> {
//! let file = ModelFile::open("resnet18")?;
//! let model = Model::new(&file, Head::Baseline, 1000, 224, 0.0)?;
//! let mut weights = Weights::new(&model.tape, &Device::cpu(), false)?;
//! load_state(&model, &mut weights, &Checkpoint::open("resnet18.pth".as_ref())?)?;
//!
//! // Normalised pixels, N × 224 × 224 × 3, and a label each.
//! let images = MemoryImages { pixels: vec![0.0; 2 * 224 * 224 * 3], labels: vec![3, 7] };
//! let mut goldens = golden::evaluate(&model, &weights, &images, &[0, 1], 2)?;
//! goldens.retain(|golden| golden.is_right());
//!
//! let plan = Plan { detectors: vec![Detector::None], ..Plan::new(1, 1000) };
//! let ranges = Ranges::default();
//! let campaign = Campaign::new(&model, &weights, &images, &goldens, &ranges, plan)?;
//! let records = campaign.run(campaign.best_strategy(), &Silent)?;
//! let sdc = records.iter().filter(|record| record.effect.outcome == Outcome::Sdc).count();
//! println!("{sdc} of {} answers are silently wrong", records.len());
//!
//! let run = campaign.results(Provenance { model: file.name.clone(), ..Default::default() }, records);
//! run.save("run.sqlite".as_ref())?;
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
pub mod golden;
pub mod goldeneye;
mod images;
pub mod layers;
mod list;
mod manifest;
mod ranges;
mod rounds;
mod run;
mod scheduler;
mod setup;
mod sparse;
mod tail;
mod tasks;
mod trial;
mod verify;
mod whole;

pub(crate) use images::load_batch;
pub use images::{Images, MemoryImages};
pub use layers::{Layer, choose};
pub use list::FaultList;
pub use ranges::Ranges;
pub use scheduler::Strategy;
pub use setup::{Campaign, layers_of};
pub use tasks::Ending;
pub use verify::Verification;
