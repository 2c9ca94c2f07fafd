//! What a reproduction would run, how long it takes on this machine, and what is missing where.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::small;
use super::sources::layout_of;
use super::step::{CommandStep, StepBlock, StepWork};
use super::steps::AskedReproduction;
use crate::Result;
use crate::bench::{InjectLoad, inject_times};
use crate::campaign::{Experiment, layers};
use crate::data::Splits;
use crate::data::builtin::{Shapes, Split};
use crate::data::transform::{EvalTransform, TrainTransform};
use crate::device::Device;
use crate::fault::Site;
use crate::models::ModelFile;
use crate::nn::Head;
use crate::plan::Labels;
use crate::progress::{Progress, Silent};
use crate::recipe::Recipe;
use crate::reproduce::{CampaignKind, ReproductionScale, RowName, RowSet};
use crate::train::{Job, Source, Trainer};

/// Images that a network is trained and evaluated on to time it.
const TRIED: usize = 8;

/// The plan of a reproduction.
#[derive(Debug, Serialize)]
pub struct ReproductionPlan {
    blocks: Vec<PlannedBlock>,
    /// Of what isn't done and lacks nothing.
    seconds: f64,
    /// On what that was measured.
    device: String,
    threads: usize,
}

/// A row from a seed.
#[derive(Debug, Serialize)]
struct PlannedBlock {
    name: String,
    missing: Vec<String>,
    steps: Vec<PlannedStep>,
}

#[derive(Debug, Serialize)]
struct PlannedStep {
    name: String,
    command: String,
    is_done: bool,
    /// `None` where it is done, or where nothing is known of the data.
    seconds: Option<f64>,
}

/// What a network takes on this machine.
#[derive(Clone, Copy)]
struct NetworkSpeed {
    trained_image_s: f64,
    evaluated_image_s: f64,
    injection_s: f64,
    layers: usize,
}

/// The plan, with times measured on this machine for networks that aren't done with.
///
/// # Errors
/// Networks that can't be run here, data that can't be read.
pub fn forecast(
    asked: &AskedReproduction<'_>,
    blocks: &[StepBlock],
    device: &Device,
    progress: &dyn Progress,
) -> Result<ReproductionPlan> {
    let mut speeds: BTreeMap<String, NetworkSpeed> = BTreeMap::new();
    let mut images: BTreeMap<RowSet, Option<[usize; 2]>> = BTreeMap::new();
    let (mut planned, mut total) = (Vec::new(), 0.0);
    for block in blocks {
        let mut steps = Vec::new();
        for step in &block.steps {
            let is_done = step.is_done()?;
            let seconds = match &block.row {
                _ if is_done => None,
                None => Some(1.0),
                Some((row, _)) => {
                    if !speeds.contains_key(&row.model) {
                        progress.line(&format!("timing {}", row.model));
                        speeds.insert(row.model.clone(), speed(asked, row, device)?);
                    }
                    if let Entry::Vacant(place) = images.entry(row.set) {
                        place.insert(counts(asked, row.set)?);
                    }
                    match images[&row.set] {
                        None => None,
                        Some(counts) => Some(time(asked, row, step, speeds[&row.model], counts)?),
                    }
                }
            };
            if block.missing.is_empty() {
                total += seconds.unwrap_or(0.0);
            }
            let (name, command) = (step.name.clone(), step.command());
            steps.push(PlannedStep { name, command, is_done, seconds });
        }
        let missing = block.missing.iter().map(ToString::to_string).collect();
        planned.push(PlannedBlock { name: block.name(), missing, steps });
    }
    Ok(ReproductionPlan {
        blocks: planned,
        seconds: total,
        device: device.kind().to_string(),
        threads: rayon::current_num_threads(),
    })
}

/// Images for training and those held out; `None` where nothing says.
fn counts(asked: &AskedReproduction<'_>, set: RowSet) -> Result<Option<[usize; 2]>> {
    if asked.is_built_in() {
        return Ok(Some(small::IMAGES));
    }
    if let Some(path) = asked.data.of(set) {
        let sets = Splits::find(path, None)?.train_and_held_out(None)?;
        return Ok(Some(sets.map(|set| crate::data::Dataset::len(&set))));
    }
    let Some(layout) = layout_of(set) else { return Ok(None) };
    let of = |names: [&str; 2]| names.iter().find_map(|name| layout.published_count(name));
    Ok(of(["train", "train"]).zip(of(["val", "test"])).map(|(train, held_out)| [train, held_out]))
}

/// Times a network of random weights, on images of the right size that need no decoding.
fn speed(asked: &AskedReproduction<'_>, row: &RowName, device: &Device) -> Result<NetworkSpeed> {
    let size = asked.image_size(row);
    let model = match size {
        Some(size) if asked.args.scale == ReproductionScale::Small => {
            small::model_file(&asked.args.out, &row.model, size)?
        }
        _ => ModelFile::open(&row.model)?,
    };
    let size = size.unwrap_or(model.input.size);
    let recipe = Recipe { epochs: 2, batch: TRIED, ..model.recipe()?.clone() };
    let train = Source {
        dataset: Arc::new(Shapes::new(1, Split::Train, TRIED)),
        transform: TrainTransform::of_folder(&model.input, size, &recipe.augmentation).into(),
    };
    let held_out = Source {
        dataset: Arc::new(Shapes::new(1, Split::Test, TRIED)),
        transform: EvalTransform::of(&model.input, size).into(),
    };
    let job = Job {
        file: model,
        head: Head::Baseline,
        recipe,
        seed: 1,
        start: "random".into(),
        train,
        validation: None,
        workers: rayon::current_num_threads(),
        output: None,
        freeze: Vec::new(),
        faults: Vec::new(),
    };
    let mut trainer = Trainer::new(job, device)?;
    let began = Instant::now();
    trainer.run(&Silent)?;
    let trained_image_s = began.elapsed().as_secs_f64() / (2 * TRIED) as f64;
    let network = trainer.into_network();
    let all: Vec<usize> = (0..TRIED).collect();
    let began = Instant::now();
    Experiment::evaluate(&network, &held_out, &all, Labels::Data, TRIED, &Silent)?;
    let evaluated_image_s = began.elapsed().as_secs_f64() / TRIED as f64;
    let load = InjectLoad {
        images: 1,
        per_layer: 1,
        site: Site::Output,
        batch: None,
        rounds: 1,
        alone: 0,
    };
    let times = inject_times(&row.model, &network, load, &Silent)?;
    Ok(NetworkSpeed {
        trained_image_s,
        evaluated_image_s,
        injection_s: 1.0 / times.injections_per_s,
        layers: layers::layers(&network.model).len(),
    })
}

/// Seconds of a step.
fn time(
    asked: &AskedReproduction<'_>,
    row: &RowName,
    step: &CommandStep,
    speed: NetworkSpeed,
    [train, held_out]: [usize; 2],
) -> Result<f64> {
    let (train, held_out) = (train as f64, held_out as f64);
    Ok(match step.work {
        StepWork::Little | StepWork::Picture => 2.0,
        StepWork::Training => {
            let epoch = train * speed.trained_image_s + held_out * speed.evaluated_image_s;
            epochs(asked, row)? as f64 * epoch
        }
        StepWork::Campaign { kind, networks } => {
            let evaluated = match kind {
                CampaignKind::Goldeneye => held_out / 5.0,
                _ => held_out,
            };
            let ranges = asked.range_images().map_or(train, |images| images as f64).min(train);
            let passes = networks as f64 * evaluated + ranges;
            let injections = speed.layers as f64 * asked.injections(kind) as f64;
            passes * speed.evaluated_image_s + injections * speed.injection_s
        }
    })
}

fn epochs(asked: &AskedReproduction<'_>, row: &RowName) -> Result<usize> {
    if let Some(epochs) = asked.args.epochs {
        return Ok(epochs as usize);
    }
    if let Some(recipe) = &asked.args.recipe {
        return Ok(Recipe::open(recipe)?.epochs);
    }
    Ok(match asked.args.scale {
        ReproductionScale::Small => small::recipe_of(&row.model).1.epochs,
        ReproductionScale::Published => ModelFile::open(&row.model)?.recipe()?.epochs,
    })
}

impl ReproductionPlan {
    /// As text: a block's name, what it lacks, and a line a step.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for block in &self.blocks {
            let left: f64 = block.steps.iter().filter_map(|step| step.seconds).sum();
            let is_done = block.steps.iter().all(|step| step.is_done);
            text += &match (is_done, block.missing.is_empty()) {
                (true, true) => format!("{}: done\n", block.name),
                (_, true) => format!("{}: about {}\n", block.name, duration(left)),
                (_, false) => format!("{}: can't be run\n", block.name),
            };
            for lack in &block.missing {
                text += &format!("    missing   {lack}\n");
            }
            for step in &block.steps {
                let state = match (step.is_done, step.seconds) {
                    (true, _) => "done".into(),
                    (false, Some(seconds)) => duration(seconds),
                    (false, None) => "?".into(),
                };
                text += &format!("    {state:<9} {}: {}\n", step.name, step.command);
            }
        }
        text += &format!(
            "\nIn all about {} for what can be run, as measured now on {} with {} threads, {TRIED} images of each network \
             that need no decoding: a rough guess.\n",
            duration(self.seconds),
            self.device,
            self.threads
        );
        text
    }
}

/// A time in words.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{:.0} s", s.max(1.0)),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}
