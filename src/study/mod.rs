//! The whole story in one call: train the baseline and the text-guided form, inject the same
//! faults into both, compare.
//!
//! Three models, so that two causes can be told apart: the baseline; the text-guided head's form
//! with random rows; the same started from text. All share seed, data order and recipe; faults hit
//! the images that all three get right. All of it is repeated from several training seeds, on the same data, with
//! faults of each seed's own.

mod contrast;
mod difference;
mod folder;
mod inputs;
mod seed;

use std::path::PathBuf;

use serde::Serialize;
use strum::IntoEnumIterator;

pub use contrast::{Contrast, ContrastFigure, FigureOverSeeds, OverSeeds};
pub use difference::{StudiesCompared, compare_studies, model_folder, study_json};
pub use folder::ASKED;
pub use inputs::{BUILTIN_SEED, Inputs, sources};

use crate::analysis::compare::Comparison;
use crate::campaign::layers;
use crate::device::Device;
use crate::models::{Model, ModelFile};
use crate::nn::Head;
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::results::FaultFree;
use crate::statistics::Estimate;
use crate::{Error, Result};

/// The store of a model's campaign.
pub const RUN: &str = "run.sqlite";

/// What a study that is over says of itself, as JSON.
pub const STUDY: &str = "study.json";

/// What a study does.
#[derive(Clone)]
pub struct Options {
    pub file: ModelFile,
    pub recipe: Recipe,
    /// Of training, see [`seeds`]; faults are drawn by the same numbers.
    pub seeds: Vec<u64>,
    /// Injections a layer.
    pub injections: u64,
    /// Flipped bits a fault.
    pub bits: usize,
    /// Batch size of forward passes.
    pub batch: usize,
    /// Where checkpoints and runs are written, if anywhere.
    pub folder: Option<PathBuf>,
    /// Go on with what is in that folder.
    pub resume: bool,
    /// A file that a new study's folder has from the beginning: its name and its text.
    pub note: Option<(&'static str, String)>,
}

impl Options {
    /// Where the files of a model go.
    fn place(&self, seed: u64, start: ModelStart) -> Option<PathBuf> {
        Some(model_folder(self.folder.as_ref()?, seed, start))
    }

    /// The stores of a seed's campaigns, the baseline's first; none without a folder.
    pub fn stores(&self, seed: u64) -> Vec<(ModelStart, PathBuf)> {
        let store = |start| Some((start, self.place(seed, start)?.join(RUN)));
        ModelStart::ALL.into_iter().filter_map(store).collect()
    }
}

/// `count` training seeds from `first` on.
///
/// # Errors
/// None at all, or more than there are numbers.
pub fn seeds(first: u64, count: u64) -> Result<Vec<u64>> {
    let Some(more) = count.checked_sub(1) else {
        return Err(Error::usage("at least one training seed is needed"));
    };
    let Some(last) = first.checked_add(more) else {
        return Err(Error::usage(format!("{count} seeds don't follow seed {first}")));
    };
    Ok((first..=last).collect())
}

/// What a model of the study starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelStart {
    /// The backbone with its ordinary last layer.
    Baseline,
    /// The text-guided head's form, rows at random.
    RandomRows,
    /// The text-guided head, rows from text features.
    TextRows,
}

impl ModelStart {
    /// In the order of a study's tables.
    pub const ALL: [ModelStart; 3] =
        [ModelStart::Baseline, ModelStart::RandomRows, ModelStart::TextRows];

    /// What the table calls it.
    pub const fn name(self) -> &'static str {
        match self {
            ModelStart::Baseline => "baseline",
            ModelStart::RandomRows => "text-guided, random rows",
            ModelStart::TextRows => "text-guided, text rows",
        }
    }

    /// The folder of its files.
    pub const fn slug(self) -> &'static str {
        match self {
            ModelStart::Baseline => "baseline",
            ModelStart::RandomRows => "random-rows",
            ModelStart::TextRows => "text-rows",
        }
    }
}

/// A model of a training seed. Rates and ΔLoss are layer-uniform over all layers unless a layer is
/// named; intervals hold 95 % and cover the sampling of faults.
#[derive(Clone, Debug, Serialize)]
pub struct StudyRow {
    pub seed: u64,
    pub start: ModelStart,
    /// Test images that all models of the seed get right: those that faults hit.
    pub common_images: usize,
    /// Percent of the test images.
    pub top1_percent: Estimate,
    /// Mean over the images that faults hit, fault-free, in percent.
    pub top2diff_percent: Estimate,
    /// Without a detector.
    pub sdc: Estimate,
    pub nonfinite: Estimate,
    /// Mean ΔLoss under `range`, in nats.
    pub delta_loss_before_scale: Estimate,
    pub delta_loss_after_scale: Estimate,
    pub delta_loss_all_layers: Estimate,
    /// Against the baseline; `None` for itself.
    pub comparison: Option<Comparison>,
    /// Text rows against random ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against_random_rows: Option<Comparison>,
    /// What is known of the network without faults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault_free: Option<FaultFree>,
    /// SHA-256 of the weights.
    pub checkpoint: String,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Study {
    pub model: String,
    pub image_size: usize,
    pub classes: usize,
    pub train_images: usize,
    pub test_images: usize,
    pub layers: usize,
    pub injections_per_layer: u64,
    /// Flipped bits a fault.
    pub bits: usize,
    pub epochs: usize,
    /// Training seeds.
    pub seeds: Vec<u64>,
    pub data: String,
    /// Whether images are made by the program, and what the rows start from.
    pub synthetic: bool,
    pub text: String,
    /// Three a seed.
    pub rows: Vec<StudyRow>,
    /// The contrasts, the main one first.
    pub contrasts: Vec<OverSeeds>,
}

/// How long the parts took; no part of the result, which is the same in every run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timing {
    pub training_s: f64,
    pub injection_s: f64,
    pub injections: u64,
}

/// Trains, injects, compares.
///
/// # Errors
/// Those of the data, of training and of the campaign; where no test image is right in all models of a seed; a folder
/// that another process has, or with another study's files.
pub fn run(
    options: &Options,
    inputs: &Inputs,
    device: &Device,
    progress: &dyn Progress,
) -> Result<(Study, Timing)> {
    let mut timing = Timing::default();
    let _taken = options.folder.as_deref().map(|of| folder::take(of, options)).transpose()?;
    let mut rows = Vec::new();
    for seed in &options.seeds {
        rows.extend(seed::run(options, *seed, inputs, device, progress, &mut timing)?);
    }
    let contrasts = Contrast::iter().map(|contrast| OverSeeds::new(contrast, &rows)).collect();
    let classes = inputs.test.dataset.classes().len();
    let baseline = Model::new(&options.file, Head::Baseline, classes, inputs.image_size(), 0.0)?;
    let study = Study {
        model: options.file.name.clone(),
        image_size: inputs.image_size(),
        classes,
        train_images: inputs.train.dataset.len(),
        test_images: inputs.test.dataset.len(),
        layers: layers::layers(&baseline).len(),
        injections_per_layer: options.injections,
        bits: options.bits,
        epochs: options.recipe.epochs,
        seeds: options.seeds.clone(),
        data: inputs.test.dataset.fingerprint(),
        synthetic: inputs.synthetic,
        text: inputs.text.clone(),
        rows,
        contrasts,
    };
    Ok((study, timing))
}
