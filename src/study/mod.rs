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

pub use inputs::{Inputs, folder_sources};

use crate::analysis::compare::{Comparison, compare};
use crate::analysis::{Intervals, Scope, last_layer, select};
use crate::campaign::{Campaign, Experiment, layers};
use crate::detector::Detector;
use crate::device::Device;
use crate::models::{ModelFile, Network, save_state_as, set_head_rows};
use crate::nn::Head;
use crate::plan::{Labels, Plan};
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::results::{Manifest, Measure, Outcome, Provenance, Run, Setting};
use crate::statistics::Estimate;
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
    /// Flipped bits a fault.
    pub bits: usize,
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
    network: Network,
    checkpoint: String,
}

impl Trained {
    /// The network on all test images.
    fn evaluate<'a>(&'a self, options: &Options, test: &'a Source) -> Result<Experiment<'a>> {
        let all: Vec<usize> = (0..test.dataset.len()).collect();
        let (labels, batch) = (Labels::Data, options.batch);
        let experiment = Experiment::evaluate(&self.network, test, &all, labels, batch)?;
        let provenance = Provenance {
            model: options.file.name.clone(),
            checkpoint: self.checkpoint.clone(),
            data: test.dataset.fingerprint(),
            ..experiment.provenance
        };
        Ok(Experiment { provenance, ..experiment })
    }
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
    let experiments: Vec<Experiment<'_>> =
        trained.iter().map(|t| t.evaluate(options, &inputs.test)).collect::<Result<_>>()?;
    timing.training_s = began.elapsed().as_secs_f64();

    let common: Vec<usize> = (0..inputs.test.dataset.len())
        .filter(|image| experiments.iter().all(|e| e.goldens[*image].is_eligible()))
        .collect();
    if common.is_empty() {
        return Err(Error::usage("no test image is right in all three models"));
    }
    let began = Instant::now();
    let mut runs: Vec<Run> = Vec::new();
    for (trained, mut experiment) in trained.iter().zip(experiments) {
        experiment.goldens.retain(|golden| common.binary_search(&golden.image).is_ok());
        runs.push(inject(options, inputs, trained.start, experiment, progress)?);
    }
    timing.injection_s = began.elapsed().as_secs_f64();
    timing.injections = runs.iter().map(|run| run.records.len() as u64).sum();

    let mut rows = Vec::new();
    for (trained, run) in trained.iter().zip(&runs) {
        rows.push(row(options.seed, trained.start, run, &runs[0])?);
    }
    let layers = layers::layers(&trained[0].network.model).len();
    let study = Study {
        model: options.file.name.clone(),
        image_size: inputs.image_size(),
        classes: inputs.test.dataset.classes().len(),
        train_images: inputs.train.dataset.len(),
        test_images: inputs.test.dataset.len(),
        common_images: common.len(),
        layers,
        injections_per_layer: options.injections,
        bits: options.bits,
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
    let network = trainer.into_network();
    let checkpoint = network.weights.sha256()?;
    if let Some(folder) = &options.folder {
        let folder = folder.join(start.slug());
        std::fs::create_dir_all(&folder).map_err(|source| Error::io(&folder, source))?;
        save_state_as(&folder.join("model.safetensors"), &facts, &network.weights)?;
    }
    Ok(Trained { start, network, checkpoint })
}

fn inject(
    options: &Options,
    inputs: &Inputs,
    start: Start,
    mut experiment: Experiment<'_>,
    progress: &dyn Progress,
) -> Result<Run> {
    // Ranges are taken over training images as the test's are transformed.
    let source = Source { dataset: inputs.train.dataset.clone(), transform: inputs.test.transform };
    let all: Vec<usize> = (0..source.dataset.len()).collect();
    experiment.measure_ranges(&layers::layers(&experiment.network.model), &source, &all)?;
    let plan = Plan {
        bits: options.bits,
        detectors: vec![Detector::None, Detector::Range],
        ..Plan::new(options.seed, options.injections)
    };
    let campaign = Campaign::new(&experiment, plan)?;
    progress.line(&format!("injecting: {}", start.name()));
    let records = campaign.run(campaign.best_strategy(), progress)?;
    let run = campaign.results(records);
    if let Some(folder) = &options.folder {
        run.save(&folder.join(start.slug()).join(RUN))?;
    }
    Ok(run)
}

fn row(seed: u64, start: Start, run: &Run, baseline: &Run) -> Result<Row> {
    let Manifest { setting: Setting { provenance, .. }, images, .. } = &run.manifest;
    // Of images that are right by a margin: it is known.
    let top2diff: f64 = images.iter().filter_map(|image| image.top2diff).sum();
    let all = Scope::ALL.layers(run);
    let how = Intervals::new(seed);
    let over_layers = |detector, measure| select(run, all.clone(), detector).mean(measure, &how);
    let last = |after_scale| {
        let layer = last_layer(run, after_scale)
            .ok_or_else(|| Error::usage("the campaign left the last layer out"))?;
        select(run, vec![layer], Detector::Range).mean(Measure::DeltaLoss, &how)
    };
    Ok(Row {
        start,
        top1_percent: 100.0 * provenance.right as f64 / provenance.evaluated as f64,
        top2diff_percent: top2diff / images.len() as f64,
        sdc: over_layers(Detector::None, Measure::Is(Outcome::Sdc))?,
        nonfinite: over_layers(Detector::None, Measure::Is(Outcome::Nonfinite))?,
        delta_loss_before_scale: last(false)?,
        delta_loss_after_scale: last(true)?,
        delta_loss_all_layers: over_layers(Detector::Range, Measure::DeltaLoss)?,
        comparison: match start {
            Start::Baseline => None,
            _ => Some(compare(baseline, run)?),
        },
        checkpoint: provenance.checkpoint.clone(),
    })
}
