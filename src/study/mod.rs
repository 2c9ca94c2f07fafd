//! The whole story in one call: train the baseline and the text-guided form, inject the same
//! faults into both, compare.
//!
//! Three models, so that two causes can be told apart: the baseline; the text-guided head's form
//! with random rows; the same started from text. All share seed, data order and recipe; faults hit
//! the images that all three get right.

mod inputs;

use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;

pub use inputs::{Inputs, SourceImages, folder_sources};

use crate::analysis::compare::{Comparison, compare};
use crate::analysis::{Intervals, Scope, last_layer, select};
use crate::campaign::{Campaign, Ranges, golden, layers};
use crate::detector::Detector;
use crate::device::Device;
use crate::models::{Model, ModelFile, save_state_as, set_head_rows};
use crate::nn::Head;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::results::{Golden, Measure, Outcome, Provenance, Run, mean_top2diff};
use crate::statistics::Estimate;
use crate::tape::Weights;
use crate::train::{Job, Source, Trainer};
use crate::{Error, Result};

/// The store of a model's campaign.
pub const RUN: &str = "run.sqlite";

/// What a study does.
#[derive(Clone)]
pub struct Options {
    pub file: ModelFile,
    pub recipe: Recipe,
    pub seed: u64,
    /// Injections a layer.
    pub injections: u64,
    /// Flipped bits a fault.
    pub bits: usize,
    /// Images of a forward pass.
    pub batch: usize,
    /// Where checkpoints and runs are written, if anywhere.
    pub folder: Option<PathBuf>,
}

/// What a model of the study starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// The backbone with its ordinary last layer.
    Baseline,
    /// The text-guided head's form, rows at random.
    RandomRows,
    /// The text-guided head, rows from text features.
    TextRows,
}

impl Start {
    const ALL: [Start; 3] = [Start::Baseline, Start::RandomRows, Start::TextRows];

    /// What the table calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Start::Baseline => "baseline",
            Start::RandomRows => "text-guided, random rows",
            Start::TextRows => "text-guided, text rows",
        }
    }

    /// The folder of its files.
    const fn slug(self) -> &'static str {
        match self {
            Start::Baseline => "baseline",
            Start::RandomRows => "random-rows",
            Start::TextRows => "text-rows",
        }
    }
}

/// A row of the study's table. Rates and ΔLoss are layer-uniform over all layers unless a layer is
/// named; intervals hold 95 % and cover the sampling of faults.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub start: Start,
    /// Percent of the test images.
    pub top1_percent: f64,
    /// Mean over the images that faults hit, fault-free, in percent.
    pub top2diff_percent: f64,
    /// Without a detector.
    pub sdc: Estimate,
    pub nonfinite: Estimate,
    /// Mean ΔLoss under `range`, in nats.
    pub delta_loss_before_scale: Estimate,
    pub delta_loss_after_scale: Estimate,
    pub delta_loss_all_layers: Estimate,
    /// Against the baseline; `None` for itself.
    pub comparison: Option<Comparison>,
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
    /// Test images that all models get right: those that faults hit.
    pub common_images: usize,
    pub layers: usize,
    pub injections_per_layer: u64,
    pub epochs: usize,
    pub seed: u64,
    pub data: String,
    /// Whether images are made by the program, and what the rows start from.
    pub synthetic: bool,
    pub text: String,
    pub rows: Vec<Row>,
}

/// How long the parts took; no part of the result, which is the same in every run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timing {
    pub training_s: f64,
    pub injection_s: f64,
    pub injections: u64,
}

/// A trained model of the study.
struct Trained {
    start: Start,
    model: Model,
    weights: Weights,
    goldens: Vec<Golden>,
    checkpoint: String,
}

/// Trains, injects, compares.
///
/// # Errors
/// Those of the data, of training and of the campaign; where no test image is right in all models.
pub fn run(
    options: &Options,
    inputs: &Inputs,
    device: &Device,
    progress: &dyn Progress,
) -> Result<(Study, Timing)> {
    let mut timing = Timing::default();
    if let Some(folder) = &options.folder {
        // Before hours of training.
        for start in Start::ALL {
            let path = folder.join(start.slug()).join(RUN);
            if path.exists() {
                return Err(Error::usage(format!("{} is there already", path.display())));
            }
        }
    }
    let began = Instant::now();
    let mut trained = Vec::new();
    for start in Start::ALL {
        progress.line(&format!("training: {}", start.name()));
        trained.push(train(options, inputs, device, start, progress)?);
    }
    timing.training_s = began.elapsed().as_secs_f64();

    let common: Vec<usize> = (0..inputs.test.dataset.len())
        .filter(|image| trained.iter().all(|t| t.goldens[*image].is_eligible()))
        .collect();
    if common.is_empty() {
        return Err(Error::usage("no test image is right in all three models"));
    }
    let began = Instant::now();
    let runs: Vec<Run> = trained
        .iter()
        .map(|t| inject(options, inputs, t, &common, progress))
        .collect::<Result<_>>()?;
    timing.injection_s = began.elapsed().as_secs_f64();
    timing.injections = runs.iter().map(|run| run.records.len() as u64).sum();

    let mut rows = Vec::new();
    for (trained, run) in trained.iter().zip(&runs) {
        rows.push(row(options.seed, trained, run, &runs[0], &common)?);
    }
    let layers = layers::layers(&trained[0].model).len();
    let study = Study {
        model: options.file.name.clone(),
        image_size: inputs.image_size(),
        classes: inputs.test.dataset.classes().len(),
        train_images: inputs.train.dataset.len(),
        test_images: inputs.test.dataset.len(),
        common_images: common.len(),
        layers,
        injections_per_layer: options.injections,
        epochs: options.recipe.epochs,
        seed: options.seed,
        data: inputs.test.dataset.fingerprint(),
        synthetic: inputs.synthetic,
        text: inputs.text.clone(),
        rows,
    };
    Ok((study, timing))
}

fn train(
    options: &Options,
    inputs: &Inputs,
    device: &Device,
    start: Start,
    progress: &dyn Progress,
) -> Result<Trained> {
    let head = match start {
        Start::Baseline => Head::Baseline,
        _ => Head::TextGuided { width: inputs.features.width },
    };
    let job = Job {
        file: options.file.clone(),
        head,
        recipe: options.recipe.clone(),
        seed: options.seed,
        start: start.slug().into(),
        train: inputs.train.clone(),
        validation: None,
        workers: 2,
        output: None,
    };
    let mut trainer = Trainer::new(job, device)?;
    if start == Start::TextRows {
        let rows = inputs.features.normalized_rows();
        set_head_rows(trainer.weights_mut(), &rows, inputs.features.width)?;
    }
    trainer.run(progress)?;
    let facts = trainer.facts();
    let (model, weights) = trainer.into_parts();
    let checkpoint = weights.sha256()?;
    if let Some(folder) = &options.folder {
        let folder = folder.join(start.slug());
        std::fs::create_dir_all(&folder).map_err(|source| Error::io(&folder, source))?;
        save_state_as(&folder.join("model.safetensors"), &facts, &weights)?;
    }
    let all: Vec<usize> = (0..inputs.test.dataset.len()).collect();
    let images = SourceImages(&inputs.test);
    let goldens = golden::evaluate(&model, &weights, &images, &all, options.batch)?;
    Ok(Trained { start, model, weights, goldens, checkpoint })
}

fn inject(
    options: &Options,
    inputs: &Inputs,
    trained: &Trained,
    common: &[usize],
    progress: &dyn Progress,
) -> Result<Run> {
    let Trained { model, weights, .. } = trained;
    // Ranges are taken over training images as the test's are transformed.
    let source = Source { dataset: inputs.train.dataset.clone(), transform: inputs.test.transform };
    let all: Vec<usize> = (0..source.dataset.len()).collect();
    let layers = layers::layers(model);
    let ranges =
        Ranges::measure(model, weights, &layers, &SourceImages(&source), &all, options.batch)?;
    let goldens: Vec<Golden> = common.iter().map(|i| trained.goldens[*i].clone()).collect();
    let plan = Plan {
        bits: options.bits,
        detectors: vec![Detector::None, Detector::Range],
        ..Plan::new(options.seed, options.injections)
    };
    let images = SourceImages(&inputs.test);
    let campaign = Campaign::new(model, weights, &images, &goldens, &ranges, plan)?;
    progress.line(&format!("injecting: {}", trained.start.name()));
    let records = campaign.run(campaign.best_strategy(), progress)?;
    let provenance = Provenance {
        model: options.file.name.clone(),
        checkpoint: trained.checkpoint.clone(),
        data: inputs.test.dataset.fingerprint(),
        evaluated: trained.goldens.len(),
        right: trained.goldens.iter().filter(|golden| golden.is_right()).count(),
        top2diff: mean_top2diff(&trained.goldens),
    };
    let run = campaign.results(provenance, records);
    if let Some(folder) = &options.folder {
        run.save(&folder.join(trained.start.slug()).join(RUN))?;
    }
    Ok(run)
}

fn row(seed: u64, trained: &Trained, run: &Run, baseline: &Run, common: &[usize]) -> Result<Row> {
    let goldens = &trained.goldens;
    let right = goldens.iter().filter(|g| g.is_right()).count();
    let top2diff: f64 = common.iter().map(|image| goldens[*image].score.top2diff).sum();
    let all = Scope::ALL.layers(run);
    let how = Intervals::new(seed);
    let over_layers = |detector, measure| select(run, all.clone(), detector).mean(measure, &how);
    let last = |after_scale| {
        let layer = last_layer(run, after_scale)
            .ok_or_else(|| Error::usage("the campaign left the last layer out"))?;
        select(run, vec![layer], Detector::Range).mean(Measure::DeltaLoss, &how)
    };
    Ok(Row {
        start: trained.start,
        top1_percent: 100.0 * right as f64 / goldens.len() as f64,
        top2diff_percent: top2diff / common.len() as f64,
        sdc: over_layers(Detector::None, Measure::Is(Outcome::Sdc))?,
        nonfinite: over_layers(Detector::None, Measure::Is(Outcome::Nonfinite))?,
        delta_loss_before_scale: last(false)?,
        delta_loss_after_scale: last(true)?,
        delta_loss_all_layers: over_layers(Detector::Range, Measure::DeltaLoss)?,
        comparison: match trained.start {
            Start::Baseline => None,
            _ => Some(compare(baseline, run)?),
        },
        checkpoint: trained.checkpoint.clone(),
    })
}
