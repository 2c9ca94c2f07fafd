//! `flipside inject`.

mod allocate;
mod evaluate;
mod exhaustive;
mod flags;
mod ranges;
mod resume;
mod sampled;
mod told;

use std::path::PathBuf;
use std::sync::Arc;

use self::allocate::Allocate;
pub(super) use self::flags::{Gathered, Todo, file_flags, gather};
use super::common::{RunArgs, check_bits, class_list, parse_site, refuse_idle, watch_stop};
use super::dataset::{SkipArgs, SplitArgs};
use super::model::{Loaded, ModelArgs};
use crate::analysis::Intervals;
use crate::campaign::{Campaign, FaultList};
use crate::census::Mode;
use crate::data::ImageSet;
use crate::detector::Detector;
use crate::fault::Site;
use crate::plan::{Flips, Labels, OnlyBits, Plan, Protocol, Shard, Stratify, Temperature};
use crate::results::Provenance;
use crate::statistics::{Confidence, StoppingRule, Target};
use crate::train::Source;
use crate::{Error, Result};

/// Headings of the flags in the help.
const FAULTS: &str = "Faults";
const HOW_MANY: &str = "Number of injections";
const KEPT: &str = "Storage and checks";

/// The most injections of a layer that goes on until a figure is known.
const MOST_INJECTIONS: u64 = 1 << 20;

/// Inject faults into a checkpoint's layers, measure what they do
///
/// In each inference one bit (see --bits) of one output of a layer is flipped, before batch norm and
/// activation. Image, neuron and bit are drawn uniformly from the seed, so that injection n of a layer is the
/// same whatever else is run. Faults hit images of val that the model classifies correctly (and so does every
/// --right-in checkpoint, so that campaigns can be compared).
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// A data set with val and train; ranges of the range detector are taken over train
    #[arg(long)]
    data: PathBuf,
    #[command(flatten)]
    split: SplitArgs,
    #[command(flatten)]
    skip: SkipArgs,
    /// Class list; tab-separated lines of index, folder name, class name. Not needed where the checkpoint
    /// names its classes, as those trained here do; then it adds names that folders may have
    #[arg(long)]
    class_list: Option<PathBuf>,
    /// Only images that this one gets right, too; another checkpoint of the same model; repeatable
    #[arg(long)]
    right_in: Vec<PathBuf>,
    /// Injections per layer, 1000 if absent; with --half-width the maximum, where the last look is, 2^20 if
    /// absent
    #[arg(long, help_heading = HOW_MANY)]
    injections: Option<u64>,
    /// Half-width of intervals to go on to; a layer is done when the confidence interval of --stop-at is no wider under
    /// every detector. 0.01 is one percentage point of a rate. The interval is valid although it is checked
    /// while the sample grows
    #[arg(long, help_heading = HOW_MANY, value_name = "WIDTH",
          conflicts_with_all = ["only", "stratify", "faults", "shard", "exhaustive"])]
    half_width: Option<f64>,
    /// With --half-width, the figure to estimate: sdc (if absent), sdc5, nonfinite, sdc-or-nonfinite, masked,
    /// or delta-p (mean |Δp_label|)
    #[arg(long, help_heading = HOW_MANY, value_name = "FIGURE")]
    stop_at: Option<Target>,
    /// With --half-width: joint confidence of the sequential test, per layer; 0.95 if absent
    #[arg(long, help_heading = HOW_MANY, value_name = "SHARE")]
    confidence: Option<Confidence>,
    /// Run injection number N of each layer; it is told what it hit and what became of the answer. With --resume FILE
    /// it is one of that campaign, and the file stays as it is
    #[arg(long, help_heading = HOW_MANY, value_name = "N", conflicts_with = "injections")]
    only: Option<u64>,
    /// Fault site; output, input, store-lost (a dropped store), or weight (every floating-point entry of the
    /// state dict); inside kernels (--device cuda or emulated) accumulator, operand-a,
    /// operand-b, shared-a, shared-b. `flipside help sites` explains them
    #[arg(long, help_heading = FAULTS, default_value = "output", value_parser = parse_site)]
    site: Site,
    /// Bits flipped in each value, 1 to 4
    #[arg(long, help_heading = FAULTS, default_value_t = 1)]
    bits: usize,
    /// Draw only among these bits; numbers as exports number them (0 the least significant of an f32, 31 its
    /// sign), ranges as 23..30, and sign, exponent or mantissa, separated by commas
    #[arg(long, help_heading = FAULTS, value_name = "LIST",
          conflicts_with_all = ["ber", "allocate", "faults", "exhaustive"])]
    only_bits: Option<OnlyBits>,
    /// Number of values hit in one inference
    #[arg(long, help_heading = FAULTS, default_value_t = 1)]
    flips: u32,
    /// Flip every bit of the layer with this probability instead (bit error rate)
    #[arg(long, help_heading = FAULTS, value_name = "P", conflicts_with_all = ["flips", "bits"])]
    ber: Option<f64>,
    /// bit: cycle through the bit positions, so that each gets its share of a layer's injections
    #[arg(long, help_heading = FAULTS, value_name = "BY", value_parser = ["bit"])]
    stratify: Option<String>,
    /// Give layers and bits as many injections as they need: pilot runs 384 injections a layer first, which
    /// aren't kept; FILE is the store of an earlier campaign whose numbers are taken or, where it isn't allocated,
    /// whose records serve as the pilot. --injections is then the average of a layer
    #[arg(long, help_heading = HOW_MANY, value_name = "pilot|FILE",
          conflicts_with_all = ["only", "stratify", "faults", "exhaustive", "half_width", "ber"])]
    allocate: Option<Allocate>,
    /// Read the faults from this list instead; a CSV file with columns layer, image, channel, row, column,
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
    #[arg(long, help_heading = HOW_MANY, value_name = "POPULATION",
          conflicts_with_all = ["injections", "only", "site", "bits", "flips", "ber", "stratify",
                                "faults", "layer", "shard"])]
    exhaustive: Option<Mode>,
    /// With --exhaustive: number of images, spread evenly over those classified correctly; all of them if
    /// absent
    #[arg(long, help_heading = HOW_MANY, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    images: Option<u32>,
    /// strict, or goldeneye to compare with figures published by GoldenEye: faults in the layers that
    /// PyTorch's forward hooks see, images from a fifth of val, ranges as f16, means without NaN
    #[arg(long, default_value = "strict")]
    protocol: Protocol,
    /// Error detectors to simulate; all on the same faults, separated by commas. If absent, none,range for outputs
    /// and weights with a known range, none elsewhere
    #[arg(long, help_heading = FAULTS, value_delimiter = ',')]
    detector: Vec<Detector>,
    /// Only these layers; a name, a pattern with *, or a type as in type:conv2d; repeatable
    #[arg(long, help_heading = FAULTS)]
    layer: Vec<String>,
    /// Number of training images to measure the ranges on; all of them if absent
    #[arg(long, help_heading = FAULTS)]
    range_images: Option<usize>,
    /// Also measure ΔLoss with the logits divided by each of these, two at most, separated by commas, so that models
    /// can be compared whose logits differ in scale: a number; range=R, which makes the range of the logits (largest
    /// less smallest, on average over the images that faults hit) R; or fit, the temperature of least mean loss over
    /// all evaluated images of val, right and wrong, 100 or more
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "exhaustive")]
    temperature: Vec<Temperature>,
    /// Re-run N injections as full, uncached inferences; fail unless logits match bit for bit
    #[arg(long, help_heading = KEPT, value_name = "N", default_value_t = 0)]
    verify: usize,
    /// Random seed of the faults and the intervals; 1 if absent
    #[arg(long, help_heading = FAULTS)]
    seed: Option<u64>,
    /// Batch size
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Keep the campaign in this file; an SQLite database, from its start on
    #[arg(long, help_heading = KEPT, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Go on with the campaign in FILE; it knows the flags that it was begun with. --injections may be more than
    /// it has. Without FILE: continue the campaign in --out, or begin it
    #[arg(long, help_heading = KEPT, value_name = "FILE", num_args = 0..=1)]
    resume: Option<Option<PathBuf>>,
    /// Read flags from this TOML file; its keys are their names, and what is typed beside it takes its place
    #[arg(long, help_heading = KEPT, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Print the flags as such a file, and run nothing; with --resume FILE those that a store was begun with
    #[arg(long, help_heading = KEPT)]
    print_config: bool,
    /// Run part I of N (1/N to N/N), to be combined by `flipside merge`. auto reads I and N from Slurm's
    /// array variables, auto/N reads I from those of a Kubernetes indexed job. {shard} in --out is replaced
    /// by I-of-N
    #[arg(long, help_heading = KEPT, value_name = "I/N")]
    shard: Option<String>,
    #[command(flatten)]
    run: RunArgs,
    /// What is known of the flags beside their values.
    #[arg(skip)]
    gathered: Gathered,
    /// The store one injection of which is told, and which isn't written to.
    #[arg(skip)]
    told_of: Option<PathBuf>,
}

impl Args {
    /// The flags with where they come from.
    pub fn with(mut self, gathered: Gathered) -> Args {
        // A store that was begun with --only is gone on with.
        if self.only.is_some() && !gathered.is_from_file("only") {
            self.told_of = self.resume.take_if(|file| file.is_some()).flatten();
        }
        Args { gathered, ..self }
    }

    fn seed(&self) -> u64 {
        self.seed.unwrap_or(1)
    }

    /// Refuses what has no effect beside the other flags.
    fn check(&self) -> Result<()> {
        let (no_width, no_out) = (self.half_width.is_none(), self.kept_in().is_none());
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
            ("--resume", no_out && self.is_resumed(), "without a file, its own or that of --out"),
            (
                "--out",
                matches!((&self.out, &self.resume), (Some(out), Some(Some(path))) if out != path),
                "beside --resume FILE, which is where the campaign is kept",
            ),
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
        let text = self.kept_in().and_then(|path| path.to_str());
        text.is_some_and(|text| text.contains("{shard}"))
    }

    fn plan(&self, list: Option<&FaultList>) -> Result<Plan> {
        check_bits(self.bits)?;
        let rule = |width| {
            let confidence = self.confidence.unwrap_or(Intervals::default().confidence);
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
            only_bits: self.only_bits.clone().unwrap_or_default(),
            stratify: if self.stratify.is_some() { Stratify::Bit } else { Stratify::No },
            layers: (!self.layer.is_empty()).then(|| self.layer.clone()),
            labels: if self.labels == "golden" { Labels::Golden } else { Labels::Data },
            list: list.map(|list| list.sha256.clone()),
            protocol: self.protocol,
            temperatures: self.temperature.clone(),
            ..Plan::new(self.seed(), 0)
        };
        let has_range = list.map_or(plan.site.has_range(), FaultList::has_ranges);
        let detectors = match self.detector.as_slice() {
            [] if self.protocol == Protocol::Goldeneye => vec![Detector::Range],
            [] if has_range => vec![Detector::None, Detector::Range],
            [] => vec![Detector::None],
            given => given.to_vec(),
        };
        let plan = Plan { detectors, ..plan };
        plan.check()?;
        let plan = match &self.allocate {
            Some(allocate) => allocate.by_store(plan, self.injections)?,
            None => plan,
        };
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
        let path = self.kept_in()?;
        Some(match path.to_str() {
            Some(text) => text.replace("{shard}", &format!("{index}-of-{of}")).into(),
            None => path.clone(),
        })
    }
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    args.gathered.explain(inject(args))
}

fn inject(args: &Args) -> anyhow::Result<()> {
    watch_stop()?;
    args.check()?;
    args.check_paths()?;
    let list = args.faults.as_deref().map(FaultList::open).transpose()?;
    let mut plan = args.plan(list.as_ref())?;
    if args.range_images == Some(0) {
        return Err(
            Error::usage("--range-images: at least one image is needed to measure ranges").into()
        );
    }
    let shard = args.part()?;
    let path = args.store(shard);
    let mut resumed = None;
    if let (Some(path), None) = (&path, args.exhaustive) {
        // Now rather than after the evaluation.
        sampled::check_store(path, args.is_resumed())?;
        resumed = if args.is_resumed() { resume::Resumed::open(path)? } else { None };
    }
    resumed.as_ref().map_or(Ok(()), |resumed| resumed.check_plan(args, &plan, shard))?;
    if let Some(store) = &args.told_of {
        let of = resume::Resumed::open(store)?;
        plan = match &of {
            Some(of) => of.told(plan)?,
            None => return Err(Error::file(store, "holds no campaign yet").into()),
        };
        resumed = of;
    }
    let device = args.run.start()?;
    let progress = args.run.progress();
    list.iter()
        .flat_map(FaultList::notes)
        .for_each(|note| progress.line(&format!("--faults: {note}")));
    let loaded = args.model.load(&device, &*progress)?;
    if list.is_none() && args.exhaustive.is_none() {
        Campaign::check(&loaded.network, &plan)?; // now rather than after the evaluation
    }
    let classes = class_list(args.class_list.as_deref())?;
    let beside = path.as_deref().or(args.told_of.as_deref());
    let splits = args.split.find(&args.data, &*progress)?;
    let ranging = ranges::Ranging::of(args, &plan, &loaded, (&splits, beside), &*progress)?;
    // Each network has its own preprocessing, and its own numbers for the folders' classes.
    let numbered = |val: ImageSet, of: &Loaded| -> Result<Source> {
        let val = match plan.labels {
            Labels::Data => val.numbered(&of.numbering(classes.as_ref()))?,
            Labels::Golden => val,
        };
        Ok(Source { dataset: Arc::new(val), transform: of.transform() })
    };
    let held_out = args.split.held_out(&splits)?;
    held_out.say_notes(&*progress);
    let held_out = args.skip.apply(held_out, &*progress)?;
    let val_of = |of: &Loaded| numbered(held_out.clone(), of);
    let val = val_of(&loaded)?;
    if let Some(resumed) = &resumed {
        resumed.check_network(&loaded, val.dataset.fingerprint())?;
        if let Some(ranging) = &ranging {
            resumed.check_ranges(ranging.images())?;
        }
    }
    let (network, labels) = (&loaded.network, plan.labels);
    let mut experiment =
        evaluate::run(args, labels, list.as_ref(), (network, &val), &val_of, &*progress)?;
    experiment.provenance = Provenance {
        model: loaded.file.name.clone(),
        checkpoint: loaded.sha256.clone(),
        data: val.dataset.fingerprint(),
        skipped: val.dataset.skipped(),
        ..experiment.provenance
    };
    if let (Some(_), Some(resumed)) = (&args.told_of, &resumed) {
        resumed.check_images(&experiment)?;
    }
    match args.exhaustive {
        Some(mode) => exhaustive::run(args, mode, &plan, experiment, ranging.as_ref(), &*progress),
        None => {
            let to = path.as_deref().map(|path| sampled::StorePlace { path, shard, resumed });
            let names = loaded.class_names(classes.as_ref())?;
            let data = sampled::CampaignInputs {
                list: list.as_ref(),
                ranging: ranging.as_ref(),
                names,
                data: &*val.dataset,
            };
            sampled::run(args, plan, experiment, &data, to, &*progress)
        }
    }
}
