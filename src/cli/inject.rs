//! `flipside inject`.

mod exhaustive;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::common::{
    RunArgs, check_bits, class_list, create_folder, parse_site, print, print_json, refuse_idle,
    stop_flag, view,
};
use super::model::{Loaded, ModelArgs};
use crate::campaign::breakdown::{By, breakdown};
use crate::campaign::exhaustive::Mode;
use crate::campaign::interval::Confidence;
use crate::campaign::statistics::Intervals;
use crate::campaign::stopping::{StoppingRule, Target};
use crate::campaign::{
    Campaign, Detector, Ending, FaultList, Flips, Golden, Labels, Layer, LayerRow, Manifest, Plan,
    Protocol, Provenance, Ranges, Record, Run, Shard, Store, Strategy, Stratify, Work, golden,
    goldeneye, layers,
};
use crate::data::transform::EvalTransform;
use crate::data::{Dataset, ImageFolder, open_held_out, open_train, say_passed_over};
use crate::device::Device;
use crate::error::{MOST_NAMED, some_of};
use crate::fault::Site;
use crate::progress::Progress;
use crate::report::{Summary, View, run_json, run_text, summary_text};
use crate::study::SourceImages;
use crate::train::Source;
use crate::{Error, Result};

/// Headings of the flags in the help.
const FAULTS: &str = "Faults";
const HOW_MANY: &str = "Number of injections";
const KEPT: &str = "Storage and checks";

/// The most injections of a layer that goes on until a figure is known.
const MOST_INJECTIONS: u64 = 1 << 20;

/// Inject faults into every Conv2d and Linear of a checkpoint and measure their effects
///
/// In each inference one bit (see --bits) of one output of a layer is flipped, before batch norm and
/// activation. Image, neuron and bit are drawn uniformly from the seed, so that injection n of a layer is the
/// same whatever else is run. Faults hit images of val that the model classifies correctly (and so does every
/// --right-in checkpoint, so that campaigns can be compared).
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// A folder with val and, for the ranges of the range detector, train
    #[arg(long)]
    data: PathBuf,
    /// Class list: tab-separated lines of index, folder name, class name. Not needed where the checkpoint
    /// names its classes, as those trained here do; then it adds names that folders may have
    #[arg(long)]
    class_list: Option<PathBuf>,
    /// Inject only into images that this other checkpoint of the same model classifies correctly, too;
    /// repeatable
    #[arg(long)]
    right_in: Vec<PathBuf>,
    /// Injections per layer, 1000 if absent; with --half-width the maximum, 2^20 if absent
    #[arg(long, help_heading = HOW_MANY)]
    injections: Option<u64>,
    /// Inject into each layer until the confidence interval of --stop-at has at most this half-width under
    /// every detector; 0.01 is one percentage point of a rate. The interval is valid although it is checked
    /// while the sample grows
    #[arg(long, help_heading = HOW_MANY, value_name = "WIDTH",
          conflicts_with_all = ["only", "stratify", "faults", "shard", "exhaustive"])]
    half_width: Option<f64>,
    /// With --half-width, the figure to estimate: sdc (if absent), sdc5, nonfinite, sdc-or-nonfinite, masked,
    /// or delta-p (mean |Δp_label|)
    #[arg(long, help_heading = HOW_MANY, value_name = "FIGURE", value_parser = parse_target)]
    stop_at: Option<Target>,
    /// With --half-width: joint confidence of the sequential test, per layer; 0.95 if absent
    #[arg(long, help_heading = HOW_MANY, value_name = "SHARE")]
    confidence: Option<Confidence>,
    /// Run only injection number N of each layer
    #[arg(long, help_heading = HOW_MANY, value_name = "N", conflicts_with = "injections")]
    only: Option<u64>,
    /// Fault site: output, input, store-lost (a store that never happens), or weight (every floating-point
    /// entry of the state dict); inside kernels (--device cuda or emulated) accumulator, operand-a,
    /// operand-b, shared-a, shared-b
    #[arg(long, help_heading = FAULTS, default_value = "output", value_parser = parse_site)]
    site: Site,
    /// Bits flipped in each value, 1 to 4
    #[arg(long, help_heading = FAULTS, default_value_t = 1)]
    bits: usize,
    /// Number of values hit in one inference
    #[arg(long, help_heading = FAULTS, default_value_t = 1)]
    flips: u32,
    /// Flip every bit of the layer with this probability instead (bit error rate)
    #[arg(long, help_heading = FAULTS, value_name = "P", conflicts_with_all = ["flips", "bits"])]
    ber: Option<f64>,
    /// bit: cycle through the bit positions, so that each gets its share of a layer's injections
    #[arg(long, help_heading = FAULTS, value_name = "BY", value_parser = ["bit"])]
    stratify: Option<String>,
    /// Read the faults from this list instead: a CSV file with columns layer, image, channel, row, column,
    /// bit (and site, k, index, model, value, … as in `predict --fault`), or a file written by `flipside
    /// export`
    #[arg(long, help_heading = FAULTS, value_name = "FILE.csv",
          conflicts_with_all = ["injections", "only", "site", "bits", "flips", "ber", "stratify", "layer"])]
    faults: Option<PathBuf>,
    /// data, or golden: take the fault-free prediction as the label, for images without labels
    #[arg(long, default_value = "data", value_parser = ["data", "golden"])]
    labels: String,
    /// Try every fault instead of a random sample: last-layer (logit × bit × image, before and after the
    /// scale), last-layer-weights or last-layer-features. The last two try millions of faults per image: see
    /// --images
    #[arg(long, help_heading = HOW_MANY, value_name = "POPULATION", value_parser = parse_mode,
          conflicts_with_all = ["injections", "only", "site", "bits", "flips", "ber", "stratify",
                                "faults", "layer", "shard"])]
    exhaustive: Option<Mode>,
    /// With --exhaustive: number of images, spread evenly over those classified correctly; all of them if
    /// absent
    #[arg(long, help_heading = HOW_MANY, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    images: Option<u32>,
    /// strict, or goldeneye to compare with figures published by GoldenEye: faults in the layers that
    /// PyTorch's forward hooks see, images from a fifth of val, ranges as f16, means without NaN
    #[arg(long, default_value = "strict", value_parser = parse_protocol)]
    protocol: Protocol,
    /// Error detectors to simulate: none, range, or none,range for both. If absent, both for outputs and
    /// weights with a known range, none elsewhere
    #[arg(long, help_heading = FAULTS, value_delimiter = ',', value_parser = parse_detector)]
    detector: Vec<Detector>,
    /// Only these layers: a name, a pattern with *, or a type as in type:conv2d; repeatable
    #[arg(long, help_heading = FAULTS)]
    layer: Vec<String>,
    /// Number of training images to measure the ranges on; all of them if absent
    #[arg(long, help_heading = FAULTS)]
    range_images: Option<usize>,
    /// Re-run N injections as full, uncached inferences; fail unless logits match bit for bit
    #[arg(long, help_heading = KEPT, value_name = "N", default_value_t = 0)]
    verify: usize,
    /// Random seed of the faults and the intervals; 1 if absent
    #[arg(long, help_heading = FAULTS)]
    seed: Option<u64>,
    /// Batch size
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Keep the campaign in this file, an SQLite database, while it runs
    #[arg(long, help_heading = KEPT, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Continue the campaign in --out
    #[arg(long, help_heading = KEPT)]
    resume: bool,
    /// Run part I of N (1/N to N/N), to be combined by `flipside merge`. auto reads I and N from Slurm's
    /// array variables, auto/N reads I from those of a Kubernetes indexed job. {shard} in --out is replaced
    /// by I-of-N
    #[arg(long, help_heading = KEPT, value_name = "I/N")]
    shard: Option<String>,
    #[command(flatten)]
    run: RunArgs,
}

fn parse_target(text: &str) -> std::result::Result<Target, String> {
    Target::parse(text).map_err(|error| error.to_string())
}

fn parse_mode(text: &str) -> std::result::Result<Mode, String> {
    Mode::parse(text).map_err(|error| error.to_string())
}

fn parse_protocol(text: &str) -> std::result::Result<Protocol, String> {
    Protocol::parse(text).map_err(|error| error.to_string())
}

fn parse_detector(text: &str) -> std::result::Result<Detector, String> {
    Detector::parse(text).map_err(|error| error.to_string())
}

impl Args {
    fn seed(&self) -> u64 {
        self.seed.unwrap_or(1)
    }

    /// Refuses what has no effect beside the other flags.
    fn check(&self) -> Result<()> {
        let (no_width, no_out) = (self.half_width.is_none(), self.out.is_none());
        let is_golden = self.labels == "golden";
        let is_plain = self.exhaustive.is_none();
        refuse_idle([
            ("--stop-at", no_width && self.stop_at.is_some(), "without --half-width"),
            ("--confidence", no_width && self.confidence.is_some(), "without --half-width"),
            ("--images", is_plain && self.images.is_some(), "without --exhaustive"),
            (
                "--seed",
                !is_plain && self.verify == 0 && self.seed.is_some(),
                "with --exhaustive, which draws nothing, unless --verify is there",
            ),
            ("--resume", no_out && self.resume, "without --out"),
            ("--shard", no_out && self.shard.is_some(), "without --out, which keeps the part"),
            ("{shard} in --out", self.shard.is_none() && self.names_shard(), "without --shard"),
            (
                "--class-list",
                is_golden && self.class_list.is_some(),
                "with --labels golden, which takes the fault-free answers for labels",
            ),
            (
                "--right-in",
                is_golden && !self.right_in.is_empty(),
                "with --labels golden, by which every network is right",
            ),
        ])?;
        if !is_plain && self.protocol == Protocol::Goldeneye {
            return Err(Error::usage(
                "--exhaustive can't be combined with the goldeneye protocol, which draws its faults",
            ));
        }
        Ok(())
    }

    /// Whether the shard's number belongs into the store's name.
    fn names_shard(&self) -> bool {
        let text = self.out.as_ref().and_then(|path| path.to_str());
        text.is_some_and(|text| text.contains("{shard}"))
    }

    fn plan(&self, list: Option<&FaultList>) -> Result<Plan> {
        check_bits(self.bits)?;
        let rule = |width| {
            let confidence = self.confidence.unwrap_or(Intervals::new(0).confidence);
            StoppingRule::new(self.stop_at.unwrap_or(Target::Sdc), width, confidence)
        };
        let until = self.half_width.map(rule).transpose()?;
        let most = if until.is_some() { MOST_INJECTIONS } else { 1000 };
        let plan = Plan {
            injections: match (self.only, list) {
                (Some(n), _) => n..n.saturating_add(1),
                (None, Some(list)) => 0..list.len() as u64,
                (None, None) => 0..self.injections.unwrap_or(most),
            },
            until,
            site: self.site,
            flips: match self.ber {
                Some(rate) => Flips::Rate(rate),
                None => Flips::Count(self.flips),
            },
            bits: self.bits,
            stratify: if self.stratify.is_some() { Stratify::Bit } else { Stratify::No },
            layers: (!self.layer.is_empty()).then(|| self.layer.clone()),
            labels: if self.labels == "golden" { Labels::Golden } else { Labels::Data },
            list: list.map(|list| list.sha256.clone()),
            protocol: self.protocol,
            ..Plan::new(self.seed(), 0)
        };
        let has_range = list.map_or(plan.has_range(), FaultList::has_ranges);
        let detectors = match self.detector.as_slice() {
            [] if self.protocol == Protocol::Goldeneye => vec![Detector::Range],
            [] if has_range => vec![Detector::None, Detector::Range],
            [] => vec![Detector::None],
            given => given.to_vec(),
        };
        let plan = Plan { detectors, ..plan };
        plan.check()?;
        if self.protocol == Protocol::Goldeneye && !self.right_in.is_empty() {
            return Err(Error::usage(
                "--right-in can't be combined with the goldeneye protocol, which takes each model's own images",
            ));
        }
        Ok(plan)
    }

    /// The store, with the shard in its name where it is asked for.
    fn store(&self, shard: Shard) -> Option<PathBuf> {
        let Shard { index, of } = shard;
        let path = self.out.as_ref()?;
        Some(match path.to_str() {
            Some(text) => text.replace("{shard}", &format!("{index}-of-{of}")).into(),
            None => path.clone(),
        })
    }
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    args.check()?;
    let list = args.faults.as_deref().map(FaultList::open).transpose()?;
    let plan = args.plan(list.as_ref())?;
    if args.range_images == Some(0) {
        return Err(
            Error::usage("--range-images: at least one image is needed to measure ranges").into()
        );
    }
    let shard = args.shard.as_deref().map_or(Ok(Shard::WHOLE), str::parse)?;
    let path = args.store(shard);
    if let (Some(path), None) = (&path, args.exhaustive) {
        check_store(path, args.resume)?; // now rather than after the evaluation
    }
    let device = args.run.start()?;
    let progress = args.run.progress();
    list.iter()
        .flat_map(FaultList::notes)
        .for_each(|note| progress.line(&format!("--faults: {note}")));
    let loaded = args.model.load(&device, &*progress)?;
    let classes = class_list(args.class_list.as_deref())?;
    let asks_images = plan.site == Site::Output && args.exhaustive != Some(Mode::Weights);
    let ranged = asks_images && plan.detectors.contains(&Detector::Range);
    // Now rather than after the evaluation.
    if ranged && !args.data.join("train").is_dir() {
        return Err(Error::usage(format!(
            "{}: has no folder named train, over which the ranges of the detector `range` are taken; \
             --detector none needs none",
            args.data.display()
        ))
        .into());
    }
    let unranged = "where no range is taken (--detector range, of outputs)";
    refuse_idle([("--range-images", !ranged && args.range_images.is_some(), unranged)])?;
    let train = ranged.then(|| open_train(&args.data, None)).transpose()?;
    train.iter().for_each(|folder| say_passed_over(folder, &*progress));
    // Each network has its own preprocessing, and its own numbers for the folders' classes.
    let source = |dataset: Arc<dyn Dataset>, of: &Loaded| {
        let transform = EvalTransform::of(&of.file.input, of.model.image_size).into();
        Source { dataset, transform }
    };
    let train = train.map(|train| source(Arc::new(train), &loaded));
    let numbered = |val: ImageFolder, of: &Loaded| -> Result<Source> {
        let val = match plan.labels {
            Labels::Data => val.numbered(&of.numbering(classes.as_ref()))?,
            Labels::Golden => val,
        };
        Ok(source(Arc::new(val), of))
    };
    let val_of = |of: &Loaded| numbered(open_held_out(&args.data, None)?, of);
    let val = open_held_out(&args.data, None)?;
    say_passed_over(&val, &*progress);
    let val = numbered(val, &loaded)?;
    let evaluated =
        evaluate(args, plan.labels, list.as_ref(), (&loaded, &val), &val_of, &*progress)?;
    let provenance = Provenance {
        model: loaded.file.name.clone(),
        checkpoint: loaded.sha256.clone(),
        data: val.dataset.fingerprint(),
        evaluated: evaluated.images,
        right: evaluated.right,
        top2diff: evaluated.top2diff,
    };
    if let Some(mode) = args.exhaustive {
        let inputs =
            exhaustive::Inputs { loaded: &loaded, train: train.as_ref(), val: &val, provenance };
        return exhaustive::run(args, mode, &plan, evaluated.goldens, inputs, &*progress);
    }
    let goldens = &evaluated.goldens;
    let ranges = match &train {
        Some(train) => measure(args, &loaded, train, &layers::layers(&loaded.model), &*progress)?,
        None => Ranges::default(),
    };
    let images = SourceImages(&val);
    let (model, weights) = (&loaded.model, &loaded.weights);
    let campaign = match &list {
        Some(list) => Campaign::of_list(model, weights, &images, goldens, &ranges, plan, list)?,
        None => Campaign::new(model, weights, &images, goldens, &ranges, plan)?,
    };
    let manifest = Manifest::new(&campaign, provenance);
    if let Flips::Count(count) = manifest.plan.flips {
        let values = |layer: &LayerRow| {
            let shape = layer.shape_at(manifest.plan.site)?;
            Some(shape.iter().map(|size| *size as u64).product::<u64>())
        };
        let is_small = |layer: &&LayerRow| values(layer).is_some_and(|n| n < u64::from(count));
        let small = manifest.layers.iter().filter(is_small);
        let names: Vec<String> = small.map(|layer| layer.name.clone()).collect();
        if !names.is_empty() {
            let names = some_of(&names, MOST_NAMED);
            progress.line(&format!(
                "these layers have fewer than {count} values, all of which are hit: {names}"
            ));
        }
    }
    let strategy = match campaign.best_strategy() {
        Strategy::Whole { .. } => Strategy::Whole { batch: args.batch as usize },
        boxes => boxes,
    };
    // From here on there is something to keep; before, ctrl-C ends the program at once.
    let stop = stop_flag()?;
    let records = match &path {
        None => {
            let records = Mutex::new(Vec::new());
            let work = Work { shard, ..Work::whole() };
            if campaign.run_part(strategy, &work, &records, &*progress, stop)? == Ending::Stopped {
                anyhow::bail!("stopped; nothing was kept, since there is no --out FILE");
            }
            let mut records = records.into_inner().unwrap_or_else(PoisonError::into_inner);
            records.sort_by_key(|record| (record.layer, record.n, record.detector));
            records
        }
        Some(path) => {
            let (store, work) = match args.resume && path.exists() {
                true => Store::resume(path, &manifest, shard)?,
                false => (Store::create(path, &manifest, shard)?, Work { shard, ..Work::whole() }),
            };
            let ending = campaign.run_part(strategy, &work, &store, &*progress, stop)?;
            let records = store.records(&manifest)?;
            store.finish(ending == Ending::Complete)?;
            if ending == Ending::Stopped {
                let path = path.display();
                anyhow::bail!(
                    "stopped; {path} holds the injections so far, and --resume continues from there"
                );
            }
            records
        }
    };
    if args.verify > 0 {
        verify(&campaign, &records, args.verify, &device, &*progress)?;
    }
    let run = Run { manifest, records };
    let (how, detectors) = (Intervals::new(args.seed()), &run.manifest.plan.detectors);
    let figures = breakdown(&run, By::Layer, None, detectors, &how)?;
    if args.run.json {
        return print_json(&run_json(&run, &figures, &how));
    }
    match view(View::Markdown) {
        View::Screen(screen) => {
            let summary = Summary { store: path.as_deref(), is_shard: shard != Shard::WHOLE };
            print(&summary_text(&run, &figures, &how, screen, &summary))
        }
        whole => print(&run_text(&run, &figures, &how, whole)),
    }
}

/// The ranges of layers.
fn measure(
    args: &Args,
    loaded: &Loaded,
    train: &Source,
    layers: &[Layer],
    progress: &dyn Progress,
) -> Result<Ranges> {
    let count = args.range_images.unwrap_or(usize::MAX).min(train.dataset.len());
    // Spread over the set, which is sorted by class.
    let list: Vec<usize> = (0..count).map(|i| i * train.dataset.len() / count).collect();
    progress.line(&format!("measuring ranges on {count} training images"));
    let (model, weights) = (&loaded.model, &loaded.weights);
    Ranges::measure(model, weights, layers, &SourceImages(train), &list, args.batch as usize)
}

/// Refuses a store that would be overwritten, or a place where none can be.
fn check_store(path: &Path, resume: bool) -> Result<()> {
    if path.exists() && !resume {
        return Err(Error::usage(format!(
            "{} is there already: --resume continues it",
            path.display()
        )));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        Some(folder) => create_folder(folder),
        None => Ok(()),
    }
}

/// Runs `count` injections again; other bits are an error.
fn verify(
    campaign: &Campaign<'_>,
    records: &[Record],
    count: usize,
    device: &Device,
    progress: &dyn Progress,
) -> Result<()> {
    let verification = campaign.verify(records, count)?;
    let Some(record) = verification.different.first() else {
        progress.line(&format!(
            "{} injections re-run as full inferences: all logits match bit for bit",
            verification.checked
        ));
        return Ok(());
    };
    Err(Error::Device {
        device: device.kind().to_string(),
        detail: format!(
            "{} of {} injections gave other logits when re-run as full inferences; the first of them is number {} of \
             layer '{}'",
            verification.different.len(),
            verification.checked,
            record.n,
            campaign.layers()[record.layer].name,
        ),
    })
}

/// The images that faults hit.
struct Evaluated {
    goldens: Vec<Golden>,
    /// Images that were run, and those that were right.
    images: usize,
    right: usize,
    top2diff: Option<f64>,
}

/// Runs images fault-free: those of a list, or all, of which those are kept that the model, and every
/// other checkpoint asked for, gets right. `val_of` gives the images under a network's labels.
fn evaluate(
    args: &Args,
    labels: Labels,
    list: Option<&FaultList>,
    (loaded, val): (&Loaded, &Source),
    val_of: &dyn Fn(&Loaded) -> Result<Source>,
    progress: &dyn Progress,
) -> Result<Evaluated> {
    let batch = args.batch as usize;
    let count = val.dataset.len();
    let chosen = match (list, args.protocol) {
        (Some(list), _) => list.images(),
        (None, Protocol::Goldeneye) => goldeneye::validation_fifth(count)?,
        (None, Protocol::Strict) => (0..count).collect(),
    };
    let path = |image| val.dataset.path(image);
    list.map_or(Ok(()), |list| list.check_images(count, path))?;
    let answers = |of: &Loaded, val: &Source, list: &[usize]| -> Result<Vec<Golden>> {
        let evaluate = match labels {
            Labels::Data => golden::evaluate,
            Labels::Golden => golden::evaluate_unlabeled,
        };
        evaluate(&of.model, &of.weights, &SourceImages(val), list, batch)
    };
    let mut goldens = answers(loaded, val, &chosen)?;
    let (evaluated, right) = (goldens.len(), goldens.iter().filter(|g| g.is_right()).count());
    let top2diff = golden::mean_top2diff(&goldens);
    progress.line(&format!("{right} of {evaluated} images are classified correctly"));
    check_finite(&args.model.checkpoint, &goldens, progress)?;
    if list.is_none() {
        goldens.retain(Golden::is_eligible);
    }
    for checkpoint in &args.right_in {
        let other = args.model.with(checkpoint).load(loaded.weights.device(), progress)?;
        let list: Vec<usize> = goldens.iter().map(|g| g.image).collect();
        let answers = answers(&other, &val_of(&other)?, &list)?;
        check_finite(checkpoint, &answers, progress)?;
        let mut answers = answers.iter();
        goldens.retain(|_| answers.next().is_some_and(Golden::is_eligible));
        progress.line(&format!(
            "{} of them are classified correctly by {}, too",
            goldens.len(),
            checkpoint.display()
        ));
    }
    if goldens.is_empty() {
        return Err(Error::usage(
            "no image is classified correctly, so that there is none to inject into",
        ));
    }
    Ok(Evaluated { goldens, images: evaluated, right, top2diff })
}

/// Says how many fault-free answers hold NaN or infinity; refuses a network that gives no other.
fn check_finite(checkpoint: &Path, goldens: &[Golden], progress: &dyn Progress) -> Result<()> {
    let (all, broken) = (goldens.len(), goldens.iter().filter(|golden| !golden.is_finite).count());
    let said =
        format!("NaN or infinity among the logits of {broken} of {all} images without any fault");
    match broken {
        0 => Ok(()),
        _ if broken == all => Err(Error::file(checkpoint, format!("gives {said}"))),
        _ => {
            progress.line(&format!("warning: {said}"));
            Ok(())
        }
    }
}
