//! `flipside inject`.

use std::path::PathBuf;
use std::sync::Arc;

use super::common::{Loaded, ModelArgs, RunArgs, class_list, create_folder, print, print_json};
use crate::campaign::statistics::{Measure, Rates, delta_loss_quantiles, layer_mean};
use crate::campaign::{Campaign, Detector, Golden, Plan, Provenance, Ranges, Run, golden, layers};
use crate::data::transform::EvalTransform;
use crate::data::{Dataset, open_split};
use crate::device::Device;
use crate::progress::Progress;
use crate::report::run_text;
use crate::study::SourceImages;
use crate::train::Source;
use crate::{Error, Result};

/// Inject faults into every Conv2d and Linear of a checkpoint and count what they do
///
/// One bit (or --bits) of one output of a layer flips, before batch norm and activation; image,
/// neuron and bits are drawn uniformly from the seed, so that injection n of a layer is the same
/// whatever else is run. Faults hit images of val that the model gets right (and every --right-in
/// checkpoint too, so that two runs can be compared).
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// A folder with train (for the ranges) and val
    #[arg(long)]
    data: PathBuf,
    /// Names for the folders: lines of index, folder name, class name
    #[arg(long)]
    class_list: Option<PathBuf>,
    /// Another checkpoint of the same model that must be right about an image, too; repeatable
    #[arg(long)]
    right_in: Vec<PathBuf>,
    /// Injections a layer
    #[arg(long, default_value_t = 1000)]
    injections: u64,
    /// Run injection number N of each layer alone
    #[arg(long, conflicts_with = "injections")]
    only: Option<u64>,
    /// Bits flipped by each fault, 1 to 4
    #[arg(long, default_value_t = 1)]
    bits: usize,
    /// none, range, or both: what stands between a faulty value and its readers
    #[arg(long, value_delimiter = ',', default_value = "none,range", value_parser = parse_detector)]
    detector: Vec<Detector>,
    /// Only this layer; repeatable
    #[arg(long)]
    layer: Vec<String>,
    /// Training images that the ranges are taken over; all of them if absent
    #[arg(long)]
    range_images: Option<usize>,
    /// Run so many of the injections again, whole and unoptimised: their bits must be equal
    #[arg(long, default_value_t = 0)]
    verify: usize,
    /// Key of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Images of a forward pass
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Write the run here: manifest.json and injections.csv
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    run: RunArgs,
}

fn parse_detector(text: &str) -> std::result::Result<Detector, String> {
    Detector::parse(text).map_err(|error| error.to_string())
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let plan = Plan {
        injections: match args.only {
            Some(n) => n..n + 1,
            None => 0..args.injections,
        },
        bits: args.bits,
        detectors: args.detector.clone(),
        layers: (!args.layer.is_empty()).then(|| args.layer.clone()),
        ..Plan::new(args.seed, args.injections)
    };
    plan.check()?;
    if args.range_images == Some(0) {
        return Err(Error::usage("--range-images: ranges need at least one image").into());
    }
    if let Some(folder) = &args.out {
        create_folder(folder)?; // now rather than after the campaign
    }
    let device = args.run.start()?;
    let progress = args.run.progress();
    let loaded = args.model.load(&device)?;
    let classes = class_list(args.class_list.as_deref())?;
    let (train, val) = open_split(&args.data, classes.as_ref())?;
    let transform = EvalTransform::of(&loaded.file.input, loaded.model.image_size).into();
    let source = |dataset: Arc<dyn Dataset>| Source { dataset, transform };
    let (train, val) = (source(Arc::new(train)), source(Arc::new(val)));
    let goldens = eligible(args, &loaded, &device, &val, progress.as_ref())?;

    let ranges = if args.detector.contains(&Detector::Range) {
        let count = args.range_images.unwrap_or(usize::MAX).min(train.dataset.len());
        // Spread over the set, which is sorted by class.
        let list: Vec<usize> = (0..count).map(|i| i * train.dataset.len() / count).collect();
        let layers = layers::layers(&loaded.model);
        progress.line(&format!("ranges over {count} training images"));
        Ranges::measure(
            &loaded.model,
            &loaded.weights,
            &layers,
            &SourceImages(&train),
            &list,
            args.batch as usize,
        )?
    } else {
        Ranges::default()
    };
    let images = SourceImages(&val);
    let campaign = Campaign::new(&loaded.model, &loaded.weights, &images, &goldens, &ranges, plan)?;
    let records = campaign.run(campaign.best_strategy(), progress.as_ref())?;
    if args.verify > 0 {
        let verification = campaign.verify(&records, args.verify)?;
        if let Some(record) = verification.different.first() {
            return Err(Error::Device {
                device: device.kind().to_string(),
                detail: format!(
                    "{} of {} injections gave other bits when run whole, first number {} of layer \
                     '{}'",
                    verification.different.len(),
                    verification.checked,
                    record.n,
                    campaign.layers()[record.layer].name,
                ),
            }
            .into());
        }
        progress.line(&format!("{} injections run whole: bits equal", verification.checked));
    }
    let provenance = Provenance {
        model: loaded.file.name.clone(),
        checkpoint: loaded.sha256.clone(),
        data: val.dataset.fingerprint(),
    };
    let run = Run::new(&campaign, &ranges, provenance, records);
    if let Some(folder) = &args.out {
        run.save(folder)?;
    }
    if args.run.json { print_json(&summary(&run)?) } else { print(&run_text(&run)?) }
}

/// The images that the model, and every other checkpoint asked for, gets right.
fn eligible(
    args: &Args,
    loaded: &Loaded,
    device: &Device,
    val: &Source,
    progress: &dyn Progress,
) -> Result<Vec<Golden>> {
    let all: Vec<usize> = (0..val.dataset.len()).collect();
    let images = SourceImages(val);
    let batch = args.batch as usize;
    let classes = val.dataset.classes().len();
    if classes != loaded.model.classes {
        return Err(Error::usage(format!(
            "{} has {classes} classes, the checkpoint {}",
            args.data.display(),
            loaded.model.classes
        )));
    }
    let mut goldens = golden::evaluate(&loaded.model, &loaded.weights, &images, &all, batch)?;
    let right = goldens.iter().filter(|g| g.is_eligible()).count();
    progress.line(&format!("{right} of {} images are right", goldens.len()));
    goldens.retain(Golden::is_eligible);
    for checkpoint in &args.right_in {
        let other =
            ModelArgs { checkpoint: checkpoint.clone(), ..args.model.clone() }.load(device)?;
        let list: Vec<usize> = goldens.iter().map(|g| g.image).collect();
        let answers = golden::evaluate(&other.model, &other.weights, &images, &list, batch)?;
        let mut answers = answers.iter();
        goldens.retain(|_| answers.next().is_some_and(Golden::is_eligible));
        progress.line(&format!("{} of them in {}, too", goldens.len(), checkpoint.display()));
    }
    if goldens.is_empty() {
        return Err(Error::usage("no image is right, so there is none to inject into"));
    }
    Ok(goldens)
}

/// Per layer and detector: rates, and ΔLoss as a mean under `range`, as quantiles under `none`.
fn summary(run: &Run) -> Result<serde_json::Value> {
    let mut rows = Vec::new();
    for (index, layer) in run.manifest.layers.iter().enumerate() {
        for detector in &run.manifest.plan.detectors {
            let records = || run.of(index, *detector);
            let delta_loss = match detector {
                Detector::Range => {
                    let seed = run.manifest.plan.seed;
                    let mean = layer_mean(run, index, *detector, Measure::DeltaLoss, seed)?;
                    serde_json::json!({ "mean": mean })
                }
                Detector::None => {
                    serde_json::json!({ "quantiles": delta_loss_quantiles(records()) })
                }
            };
            rows.push(serde_json::json!({
                "layer": layer.name, "detector": detector.name(), "rates": Rates::of(records()),
                "delta_loss": delta_loss,
            }));
        }
    }
    Ok(serde_json::json!({
        "model": run.manifest.provenance.model, "head": run.manifest.head,
        "images": run.manifest.images.len(), "seed": run.manifest.plan.seed, "layers": rows,
    }))
}
