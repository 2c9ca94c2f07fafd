//! Injection campaigns: which faults, what they did, where it is kept, and what it means.
//!
//! # From a model to figures
//!
//! 1. A [`Model`](crate::models::Model) of a file, or recorded from operations by
//!    [`Model::record`](crate::models::Model::record), and its [`Weights`](crate::tape::Weights).
//! 2. Evaluation images: anything that is [`Images`]. [`golden::evaluate`] runs them fault-free; keep the
//!    answers that are right, or hold each against itself by [`golden::evaluate_unlabeled`].
//! 3. For the detector `range` the largest value of each layer, by [`Ranges::measure`] over training images;
//!    else `Ranges::default()`.
//! 4. A [`Plan`]: seed, injections a layer, site, bits, layers, detectors. Injection n of a layer follows
//!    from seed, layer and n alone.
//! 5. A [`Campaign`] of all these, and [`Campaign::run`], which gives [`Record`]s: one an injection and
//!    detector.
//! 6. A [`Run`]: records and a [`Manifest`] of what was run on what. It is saved and opened as one file, written
//!    by [`write_csv`] or [`write_parquet`], taken apart by [`breakdown`], compared by [`compare`].
//!
//! ```no_run
//! use flipside::campaign::{self, Campaign, Detector, MemoryImages, Outcome, Plan, Provenance, Ranges, Run};
//! use flipside::{checkpoint::Checkpoint, device::Device, nn::Head, progress::Silent, tape::Weights};
//! use flipside::models::{Model, ModelFile, load_state};
//!
//! # fn main() -> flipside::Result<()> {
//! let file = ModelFile::open("resnet18")?;
//! let model = Model::new(&file, Head::Baseline, 1000, 224, 0.0)?;
//! let mut weights = Weights::new(&model.tape, &Device::cpu(), false)?;
//! load_state(&model, &mut weights, &Checkpoint::open("resnet18.pth".as_ref())?)?;
//!
//! // Normalised pixels, N × 224 × 224 × 3, and a label each.
//! let images = MemoryImages { pixels: vec![0.0; 2 * 224 * 224 * 3], labels: vec![3, 7] };
//! let mut goldens = campaign::golden::evaluate(&model, &weights, &images, &[0, 1], 2)?;
//! goldens.retain(|golden| golden.is_right());
//!
//! let plan = Plan { detectors: vec![Detector::None], ..Plan::new(1, 1000) };
//! let ranges = Ranges::default();
//! let campaign = Campaign::new(&model, &weights, &images, &goldens, &ranges, plan)?;
//! let records = campaign.run(campaign.best_strategy(), &Silent)?;
//! let sdc = records.iter().filter(|record| record.effect.outcome == Outcome::Sdc).count();
//! println!("{sdc} of {} answers are silently wrong", records.len());
//!
//! let run = Run::new(&campaign, Provenance { model: file.name.clone(), ..Default::default() }, records);
//! run.save("run.sqlite".as_ref())?;
//! # Ok(())
//! # }
//! ```
//!
//! # What can be stopped
//!
//! [`Campaign::run_part`] runs what of a [`Shard`] isn't done yet and hands records to a [`Sink`] as they come. A
//! [`Store`] is one that keeps them in a file: [`Store::create`] begins, [`Store::resume`] says what is done
//! already, [`merge`] puts shards together. The rows are the same whichever way they came about.
//!
//! `examples/own_model.rs` injects into a network of its own; `docs/reading-results.md` explains what is kept.

pub mod bootstrap;
mod boxes;
pub mod breakdown;
pub mod compare;
pub mod draw;
pub mod exhaustive;
pub mod golden;
pub mod goldeneye;
mod images;
pub mod interval;
pub mod layers;
mod list;
pub mod outcome;
mod plan;
pub mod ranges;
mod record;
mod rounds;
mod run;
pub mod statistics;
pub mod stopping;
mod store;
mod tail;
mod verify;
mod whole;

pub use golden::{Golden, Judged};
pub use images::{Images, MemoryImages};
pub use layers::{Layer, Part};
pub use list::FaultList;
pub use outcome::{Effect, Outcome};
pub use plan::{Flips, Labels, Plan, Protocol, Shard, Stratify};
pub use ranges::{Detector, Ranges};
pub use record::{Place, Record, Values};
pub use rounds::Watched;
pub use run::{Campaign, Ending, Sink, Strategy, Work};
pub use store::{
    CensusManifest, GoldenRow, LayerRow, Manifest, Provenance, Run, Store, hex, merge, write_csv,
    write_parquet,
};
pub use verify::Verification;
