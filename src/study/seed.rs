//! One training seed: three models trained and injected, and what they differ in.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use strum::IntoEnumIterator;

use super::{Contrast, Inputs, ModelStart, Options, RUN, StudyRow, Timing};
use crate::analysis::compare::{Comparison, Measured, compare_measured};
use crate::analysis::{Intervals, Scope, last_layer, select};
use crate::campaign::{Campaign, Experiment, layers};
use crate::census::{count_last_layer, finish};
use crate::detector::Detector;
use crate::device::Device;
use crate::models::{Network, set_head_rows};
use crate::nn::Head;
use crate::plan::{Labels, Plan, Shard, Temperature};
use crate::progress::Progress;
use crate::results::{
    Golden, Manifest, Measure, Outcome, Provenance, Run, Setting, Store, mean_logit_range,
};
use crate::statistics::plain_mean;
use crate::train::{Job, Output, Source, Trainer};
use crate::{Error, Result};

/// A trained model of the study.
struct Trained {
    start: ModelStart,
    network: Network,
    checkpoint: String,
}

impl Trained {
    /// The network on all test images.
    fn evaluate<'a>(
        &'a self,
        options: &Options,
        test: &'a Source,
        progress: &dyn Progress,
    ) -> Result<Experiment<'a>> {
        let all: Vec<usize> = (0..test.dataset.len()).collect();
        let (labels, batch) = (Labels::Data, options.batch);
        let experiment = Experiment::evaluate(&self.network, test, &all, labels, batch, progress)?;
        let provenance = Provenance {
            model: options.file.name.clone(),
            checkpoint: self.checkpoint.clone(),
            data: test.dataset.fingerprint(),
            skipped: test.dataset.skipped(),
            ..experiment.provenance
        };
        Ok(Experiment { provenance, ..experiment })
    }
}

/// A model's campaign, and which test images it gets right.
struct Injected {
    start: ModelStart,
    run: Run,
    right: Vec<bool>,
}

impl Injected {
    fn measured(&self) -> Measured<'_> {
        let Injected { start, run, right } = self;
        Measured { name: start.name(), run, right }
    }
}

/// The rows of a training seed.
pub(super) fn run(
    options: &Options,
    seed: u64,
    inputs: &Inputs,
    device: &Device,
    progress: &dyn Progress,
    timing: &mut Timing,
) -> Result<Vec<StudyRow>> {
    let began = Instant::now();
    let mut trained = Vec::new();
    for start in ModelStart::ALL {
        trained.push(train(options, seed, inputs, device, start, progress)?);
    }
    let mut experiments: Vec<Experiment<'_>> = trained
        .iter()
        .map(|t| t.evaluate(options, &inputs.test, progress))
        .collect::<Result<_>>()?;
    timing.training_s += began.elapsed().as_secs_f64();

    let common: Vec<usize> = (0..inputs.test.dataset.len())
        .filter(|image| experiments.iter().all(|e| e.goldens[*image].is_eligible()))
        .collect();
    if common.is_empty() {
        return Err(Error::usage(format!(
            "no test image is right in all three models of training seed {seed}"
        )));
    }
    let began = Instant::now();
    let temperatures = temperatures(&mut experiments, &common, progress);
    let mut injected = Vec::new();
    for (trained, mut experiment) in trained.iter().zip(experiments) {
        let start = trained.start;
        let right = experiment.goldens.iter().map(Golden::is_right).collect();
        experiment.goldens.retain(|golden| common.binary_search(&golden.image).is_ok());
        let to = (seed, start, temperatures.clone());
        let (run, found) = inject(options, to, inputs, experiment, progress)?;
        timing.injections += run.records.len() as u64 - found;
        injected.push(Injected { start, run, right });
    }
    timing.injection_s += began.elapsed().as_secs_f64();
    injected.iter().map(|model| row(seed, model, &injected)).collect()
}

fn train(
    options: &Options,
    seed: u64,
    inputs: &Inputs,
    device: &Device,
    start: ModelStart,
    progress: &dyn Progress,
) -> Result<Trained> {
    let head = match start {
        ModelStart::Baseline => Head::Baseline,
        _ => Head::text_guided(inputs.features.width),
    };
    let output = options.place(seed, start).map(Output::at);
    let job = Job {
        file: options.file.clone(),
        head,
        recipe: options.recipe.clone(),
        seed,
        start: match start {
            ModelStart::TextRows => format!("text features {}", inputs.features.sha256()),
            _ => "random".into(),
        },
        train: inputs.train.clone(),
        validation: None,
        workers: rayon::current_num_threads(),
        output: output.clone(),
        freeze: Vec::new(),
        faults: Vec::new(),
    };
    let mut trainer = Trainer::new(job, device)?;
    if start == ModelStart::TextRows {
        let rows = inputs.features.normalized_rows();
        set_head_rows(trainer.weights_mut(), &rows, inputs.features.width)?;
    }
    if let Some(output) = output.as_ref().filter(|_| options.resume)
        && (output.resumable().is_some() || output.model().exists())
    {
        trainer.resume()?;
    }
    let is_trained = trainer.position().0 >= options.recipe.epochs;
    let doing = if is_trained { "trained already" } else { "training" };
    progress.line(&format!("{doing}: {}, seed {seed}", start.name()));
    trainer.run(progress)?;
    if let Some(path) = output.and_then(|output| output.resumable()) {
        // Thrice the model's size, of which there are many.
        std::fs::remove_file(&path).map_err(|source| Error::io(&path, source))?;
    }
    let network = trainer.into_network();
    let checkpoint = network.weights.sha256()?;
    Ok(Trained { start, network, checkpoint })
}

/// At what the models of a seed are compared beside as trained: each at its fitted temperature, and all at the range
/// of the baseline's logits, to three digits. What can't be had of every model is left out, and told.
fn temperatures(
    experiments: &mut [Experiment<'_>],
    common: &[usize],
    progress: &dyn Progress,
) -> Vec<Temperature> {
    let mut found = Vec::new();
    match experiments.iter_mut().try_for_each(Experiment::fit_temperature) {
        Ok(()) => found.push(Temperature::Fit),
        Err(error) => progress.line(&format!("no comparison at fitted temperatures: {error}")),
    }
    let range = |experiment: &Experiment<'_>| {
        let of: Vec<Golden> =
            common.iter().map(|image| experiment.goldens[*image].clone()).collect();
        mean_logit_range(&of).filter(|range| *range > 0.0)
    };
    let ranges: Option<Vec<f64>> = experiments.iter().map(range).collect();
    let range = ranges.and_then(|ranges| format!("{:.2e}", ranges.first()?).parse().ok());
    match range {
        Some(range) => found.push(Temperature::Range(range)),
        None => progress
            .line("no comparison at equal range of the logits: some model's are all the same"),
    }
    found
}

/// Injects into a model, or reads what the store has; how many records were there already is said, too.
fn inject(
    options: &Options,
    (seed, start, temperatures): (u64, ModelStart, Vec<Temperature>),
    inputs: &Inputs,
    mut experiment: Experiment<'_>,
    progress: &dyn Progress,
) -> Result<(Run, u64)> {
    // Ranges are taken over training images as the test's are transformed.
    let source = Source { dataset: inputs.train.dataset.clone(), transform: inputs.test.transform };
    let all: Vec<usize> = (0..source.dataset.len()).collect();
    let layers = layers::layers(&experiment.network.model);
    experiment.measure_ranges(&layers, &source, &all, progress)?;
    experiment.count_false_alarms(&layers, progress)?;
    let plan = Plan {
        bits: options.bits,
        temperatures,
        detectors: vec![Detector::None, Detector::Range],
        ..Plan::new(seed, options.injections)
    };
    let campaign = Campaign::new(&experiment, plan)?;
    progress.line(&format!("injecting: {}, seed {seed}", start.name()));
    let (manifest, strategy) = (campaign.manifest(), campaign.best_strategy());
    let mut found = 0;
    let (records, counted) = match options.place(seed, start) {
        None => {
            let records = campaign.run(strategy, progress)?;
            (records, count_last_layer(&experiment, &manifest)?)
        }
        Some(folder) => {
            let (path, shard) = (folder.join(RUN), Shard::WHOLE);
            let (store, work) = Store::begin(&path, &manifest, shard, options.resume)?;
            found = (work.done.len() * manifest.plan.detectors.len()) as u64;
            let go_on = AtomicBool::new(false);
            let ending = campaign.run_part(strategy, &work, &store, progress, &go_on)?;
            finish(store, &experiment, &manifest, shard, ending)?
        }
    };
    Ok((Run { manifest, records, counted }, found))
}

fn row(seed: u64, model: &Injected, all: &[Injected]) -> Result<StudyRow> {
    let (start, run) = (model.start, &model.run);
    let Manifest { setting: Setting { provenance, .. }, images, .. } = &run.manifest;
    // Of images that are right by a margin: it is known.
    let top2diff = images.iter().filter_map(|image| image.top2diff);
    let whole = Scope::ALL.layers(run);
    let how = Intervals::default();
    let mean = |layers, detector, measure| select(run, layers, detector).mean(measure, &how);
    let over_layers = |detector, measure| mean(whole.clone(), detector, measure);
    let last = |after_scale| {
        let layer = last_layer(run, after_scale)
            .ok_or_else(|| Error::usage("the campaign left the last layer out"))?;
        mean(vec![layer], Detector::Range, Measure::DeltaLoss)
    };
    Ok(StudyRow {
        seed,
        start,
        common_images: images.len(),
        top1_percent: how
            .rates
            .of(provenance.right as f64, provenance.evaluated as f64, how.confidence)
            .times(100.0),
        top2diff_percent: plain_mean(top2diff, how.confidence),
        sdc: over_layers(Detector::None, Measure::Is(Outcome::Sdc))?,
        nonfinite: over_layers(Detector::None, Measure::Is(Outcome::Nonfinite))?,
        delta_loss_before_scale: last(false)?,
        delta_loss_after_scale: last(true)?,
        delta_loss_all_layers: over_layers(Detector::Range, Measure::DeltaLoss)?,
        comparison: against(ModelStart::Baseline, model, all)?,
        against_random_rows: against(ModelStart::RandomRows, model, all)?,
        fault_free: run.manifest.fault_free,
        checkpoint: provenance.checkpoint.clone(),
    })
}

/// A model against the one that started as `from`, where that is a contrast of the study.
fn against(from: ModelStart, model: &Injected, all: &[Injected]) -> Result<Option<Comparison>> {
    let is_contrast = |contrast: Contrast| contrast.models() == [from, model.start];
    let Some(other) = all.iter().find(|other| other.start == from) else { return Ok(None) };
    if !Contrast::iter().any(is_contrast) {
        return Ok(None);
    }
    compare_measured([other.measured(), model.measured()]).map(Some)
}
