//! Flags that several subcommands share, and what they turn into.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

use super::augment::AugmentArgs;
use crate::analysis::Intervals;
use crate::data::{ClassList, Pack, SetLayout, Splits};
use crate::device::Device;
use crate::fault::Site;
use crate::models::Model;
use crate::number::Compute;
use crate::ops::Role;
use crate::plan::MAX_BITS;
use crate::progress::{Progress, Silent, for_stderr};
use crate::recipe::{Ema, OptimizerKind, Recipe, Schedule};
use crate::report::View;
use crate::screen::Screen;
use crate::statistics::{Confidence, RateInterval, Unit};
use crate::{Error, Result};

/// Where and how a command runs.
#[derive(clap::Args, Clone, Debug)]
pub struct RunArgs {
    /// cpu, cuda, cuda:N, or emulated; the last runs the CUDA kernels on the CPU
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Arithmetic of convolutions and linear layers: exact (f32), or tensor cores (cuda and emulated only)
    /// with operands rounded to tf32, bf16 or f16 and accumulation in f32
    #[arg(long, default_value_t, value_name = "TYPE")]
    pub compute: Compute,
    /// CPU threads, up to 1024; 0 uses all cores. Results don't depend on it
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=1024))]
    pub threads: u16,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
    /// Don't show progress
    #[arg(long, short)]
    pub quiet: bool,
}

impl RunArgs {
    /// Sets the number of threads and opens the device.
    pub fn start(&self) -> Result<Device> {
        use_threads(self.threads)?;
        Device::parse(&self.device)?.with_compute(self.compute)
    }

    /// A bar on a terminal, lines elsewhere, nothing if quiet; on the standard error stream.
    pub fn progress(&self) -> Box<dyn Progress> {
        progress(self.quiet)
    }

    /// Whether it is the command's own choice where it runs.
    pub fn is_default(&self) -> bool {
        self.device == "cpu" && self.compute == Compute::Exact
    }
}

/// Sets the number of threads, unless it is 0; a command's first act.
pub fn use_threads(threads: u16) -> Result<()> {
    if threads == 0 {
        return Ok(());
    }
    // Fails only if the pool is there already, which a command's first act precludes.
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.into())
        .build_global()
        .map_err(|error| Error::usage(format!("--threads: {error}")))
}

/// A bar on a terminal, lines elsewhere, nothing if quiet; on the standard error stream.
pub fn progress(quiet: bool) -> Box<dyn Progress> {
    if quiet { Box::new(Silent) } else { for_stderr() }
}

/// Refuses flags that would have no effect beside the others: each with whether it is there, and the rest of
/// the sentence. (Clap forgets that a flag requires another where that one conflicts with a third.)
pub fn refuse_idle<const N: usize>(flags: [(&str, bool, &str); N]) -> Result<()> {
    match flags.into_iter().find(|(_, is_there, _)| *is_there) {
        Some((flag, _, why)) => Err(Error::usage(format!("{flag} has no effect {why}"))),
        None => Ok(()),
    }
}

/// How intervals are made.
#[derive(clap::Args, Clone, Debug)]
pub struct IntervalArgs {
    /// Confidence level of the intervals; 0.95 if absent
    #[arg(long, value_name = "SHARE")]
    confidence: Option<Confidence>,
    /// Confidence interval of rates: wilson (if absent), or clopper-pearson, which is wider and never covers
    /// less than its level
    #[arg(long, value_name = "KIND")]
    interval: Option<RateInterval>,
    /// What varies from one campaign to the next, for means and ratios: images (if absent), so that intervals are
    /// about images like these, or injections, so that they are about these images only
    #[arg(long, value_name = "UNIT")]
    unit: Option<Unit>,
}

impl IntervalArgs {
    /// The intervals.
    pub fn intervals(&self) -> Intervals {
        let base = Intervals::default();
        Intervals {
            confidence: self.confidence.unwrap_or(base.confidence),
            rates: self.interval.unwrap_or(base.rates),
            unit: self.unit.unwrap_or(base.unit),
        }
    }

    /// Whether it is said what varies.
    pub fn has_unit(&self) -> bool {
        self.unit.is_some()
    }

    /// Whether any of them is there.
    pub fn are_given(&self) -> bool {
        self.confidence.is_some() || self.interval.is_some() || self.unit.is_some()
    }
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ReportFormat {
    Text,
    Markdown,
    Json,
}

/// How tables are printed.
#[derive(clap::Args, Clone, Debug)]
pub struct FormatArgs {
    /// text, markdown or json; text is fitted to the width of a terminal, and complete in a pipe; markdown is
    /// complete everywhere
    #[arg(long, default_value = "text", value_name = "FORMAT")]
    format: ReportFormat,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

impl FormatArgs {
    /// How a report for people is to be written; `None` where JSON is asked for.
    pub fn view(&self) -> Option<View> {
        match self.format {
            _ if self.json => None,
            ReportFormat::Text => Some(view(View::Text)),
            ReportFormat::Markdown => Some(View::Markdown),
            ReportFormat::Json => None,
        }
    }
}

/// Numbers of a training run; what is absent comes from the defaults of the command.
#[derive(clap::Args, Clone, Debug)]
pub struct RecipeArgs {
    /// Number of training epochs
    #[arg(long)]
    pub epochs: Option<usize>,
    /// Batch size
    #[arg(long)]
    pub batch: Option<usize>,
    /// Peak learning rate; it is reached after the warm-up
    #[arg(long)]
    pub learning_rate: Option<f64>,
    /// Optimizer: sgd or adamw
    #[arg(long, value_name = "RULE")]
    pub optimizer: Option<OptimizerKind>,
    /// Momentum (sgd only)
    #[arg(long)]
    pub momentum: Option<f32>,
    /// Use Nesterov momentum (sgd only)
    #[arg(long)]
    pub nesterov: bool,
    /// AdamW's decay rates of the first and second moments, as in 0.9,0.999
    #[arg(long, value_parser = parse_betas)]
    pub betas: Option<[f64; 2]>,
    /// AdamW's epsilon, added to the denominator
    #[arg(long)]
    pub eps: Option<f64>,
    /// Weight decay of all parameters that the other weight-decay flags don't cover
    #[arg(long)]
    pub weight_decay: Option<f32>,
    /// Weight decay of normalisation layers; also of their biases unless --bias-weight-decay is given
    #[arg(long)]
    pub norm_weight_decay: Option<f32>,
    /// Weight decay of all biases, including those of normalisation layers
    #[arg(long)]
    pub bias_weight_decay: Option<f32>,
    /// Weight decay of the tables of relative position biases
    #[arg(long)]
    pub position_weight_decay: Option<f32>,
    /// Clip gradients to this global norm; 0 turns clipping off
    #[arg(long, value_name = "NORM")]
    pub clip_grad_norm: Option<f32>,
    /// Label smoothing
    #[arg(long)]
    pub label_smoothing: Option<f32>,
    /// Epochs of linear warm-up
    #[arg(long)]
    pub warmup_epochs: Option<usize>,
    /// Share of the learning rate at which the warm-up starts
    #[arg(long, value_name = "SHARE")]
    pub warmup_start: Option<f64>,
    /// Evaluate and save an exponential moving average of the weights, with this decay (adjusted to batch
    /// size and epochs as in torchvision's reference), updated every STEPS steps; as in 0.99998:32
    #[arg(long, value_parser = parse_ema, value_name = "DECAY:STEPS")]
    pub ema: Option<Ema>,
    /// Evaluate and save the weights themselves, even if the model file asks for a moving average
    #[arg(long, conflicts_with = "ema")]
    pub no_ema: bool,
    /// Learning-rate schedule: step:EVERY:GAMMA (multiply by GAMMA every EVERY epochs), cosine, or
    /// cosine:MINIMUM (end at MINIMUM)
    #[arg(long, value_parser = parse_schedule)]
    pub schedule: Option<Schedule>,
    #[command(flatten)]
    pub augmentation: AugmentArgs,
}

impl RecipeArgs {
    /// `base` with the flags' numbers.
    pub fn over(&self, base: Recipe) -> Result<Recipe> {
        let recipe = Recipe {
            epochs: self.epochs.unwrap_or(base.epochs),
            batch: self.batch.unwrap_or(base.batch),
            accumulate: base.accumulate,
            learning_rate: self.learning_rate.unwrap_or(base.learning_rate),
            optimizer: self.optimizer.unwrap_or(base.optimizer),
            momentum: self.momentum.unwrap_or(base.momentum),
            nesterov: self.nesterov || base.nesterov,
            betas: self.betas.unwrap_or(base.betas),
            eps: self.eps.unwrap_or(base.eps),
            weight_decay: self.weight_decay.unwrap_or(base.weight_decay),
            norm_weight_decay: self.norm_weight_decay.or(base.norm_weight_decay),
            bias_weight_decay: self.bias_weight_decay.or(base.bias_weight_decay),
            position_weight_decay: self.position_weight_decay.or(base.position_weight_decay),
            clip_grad_norm: self.clip_grad_norm.or(base.clip_grad_norm).filter(|norm| *norm != 0.0),
            label_smoothing: self.label_smoothing.unwrap_or(base.label_smoothing),
            warmup_epochs: self.warmup_epochs.unwrap_or(base.warmup_epochs),
            warmup_start: self.warmup_start.unwrap_or(base.warmup_start),
            ema: self.ema.or(base.ema).filter(|_| !self.no_ema),
            augmentation: self.augmentation.over(base.augmentation)?,
            schedule: self.schedule.unwrap_or(base.schedule),
        };
        recipe.check()?;
        let is_sgd = recipe.optimizer == OptimizerKind::Sgd;
        refuse_idle([
            ("--momentum", self.momentum.is_some() && !is_sgd, "without --optimizer sgd"),
            ("--nesterov", self.nesterov && !is_sgd, "without --optimizer sgd"),
            ("--nesterov", self.nesterov && recipe.momentum == 0.0, "without --momentum"),
            ("--betas", self.betas.is_some() && is_sgd, "without --optimizer adamw"),
            ("--eps", self.eps.is_some() && is_sgd, "without --optimizer adamw"),
            (
                "--warmup-start",
                self.warmup_start.is_some() && recipe.warmup_epochs == 0,
                "without --warmup-epochs",
            ),
        ])?;
        Ok(recipe)
    }

    /// Refuses weight decays of kinds of parameters that `model` doesn't have.
    pub fn check_model(&self, model: &Model) -> Result<()> {
        let has = |role| model.tape.params().iter().any(|param| param.spec.role == role);
        let lacks = |flag: Option<f32>, role| flag.is_some() && !has(role);
        let norms = "on this model: it has no normalisation layers with parameters";
        let tables = "on this model: it has no position tables";
        refuse_idle([
            ("--norm-weight-decay", lacks(self.norm_weight_decay, Role::Norm), norms),
            ("--position-weight-decay", lacks(self.position_weight_decay, Role::Position), tables),
        ])
    }
}

fn parse_betas(text: &str) -> std::result::Result<[f64; 2], String> {
    let numbers = text.split_once(',').map(|(first, second)| (first.parse(), second.parse()));
    match numbers {
        Some((Ok(first), Ok(second))) => Ok([first, second]),
        _ => Err("is two numbers: 0.9,0.999".into()),
    }
}

fn parse_ema(text: &str) -> std::result::Result<Ema, String> {
    let numbers = text.split_once(':').map(|(decay, steps)| (decay.parse(), steps.parse()));
    match numbers {
        Some((Ok(decay), Ok(steps))) => Ok(Ema { decay, steps }),
        _ => Err("is a decay and a number of steps: 0.99998:32".into()),
    }
}

fn parse_schedule(text: &str) -> std::result::Result<Schedule, String> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        ["cosine"] => Ok(Schedule::Cosine { minimum: 0.0 }),
        ["cosine", minimum] => match minimum.parse() {
            Ok(minimum) => Ok(Schedule::Cosine { minimum }),
            Err(_) => Err("cosine takes a learning rate to end at: cosine:1e-5".into()),
        },
        ["step", every, gamma] => match (every.parse(), gamma.parse()) {
            (Ok(every), Ok(gamma)) if every > 0 => Ok(Schedule::Step { every, gamma }),
            _ => Err("step takes a number of epochs and a factor: step:30:0.1".into()),
        },
        _ => Err("is step:EVERY:GAMMA, cosine or cosine:MINIMUM".into()),
    }
}

/// The fault site called `text`.
pub fn parse_site(text: &str) -> std::result::Result<Site, String> {
    Site::parse(text).map_err(|error| error.to_string())
}

/// Refuses a number of bits that no fault flips; 0 is a rehearsal, which the library alone runs.
pub fn check_bits(bits: usize) -> Result<()> {
    if !(1..=MAX_BITS).contains(&bits) {
        return Err(Error::usage(format!(
            "--bits: a fault flips 1 to {MAX_BITS} bits, not {bits}"
        )));
    }
    Ok(())
}

/// The class list, where one is named.
pub fn class_list(path: Option<&Path>) -> Result<Option<ClassList>> {
    path.map(ClassList::open).transpose()
}

/// The class list in a file, or the classes of a data set.
pub fn classes_of(path: &Path) -> Result<ClassList> {
    match SetLayout::of(path) {
        Ok(layout) => Splits::find(path, Some(layout))?.class_list(),
        // No data set's archive or file, a damaged one neither.
        Err(_) if path.is_file() && !Pack::is_pack(path)? => ClassList::open(path),
        Err(error) => Err(error),
    }
}

/// The class list, or the one inside the file of text features where none is named.
pub fn class_list_of_features(path: Option<&Path>, features: &Path) -> Result<Option<ClassList>> {
    match path {
        Some(path) => ClassList::open(path).map(Some),
        None => crate::text::file::class_list(features),
    }
}

/// SHA-256 of a file's bytes, in hex.
pub fn file_sha256(path: &Path) -> Result<String> {
    let mut file = std::fs::File::open(path).map_err(|source| Error::io(path, source))?;
    let mut hasher = Sha256::new();
    std::io::copy(&mut file, &mut hasher).map_err(|source| Error::io(path, source))?;
    Ok(crate::hex(&hasher.finalize()))
}

/// Whether the user wants to stop.
static STOP: AtomicBool = AtomicBool::new(false);
/// Whether there is something that stopping keeps.
static KEEPS: AtomicBool = AtomicBool::new(false);

/// A flag that is set when the user wants to stop (ctrl-C, SIGTERM); the second time ends at once.
pub fn stop_flag() -> anyhow::Result<&'static AtomicBool> {
    watch_stop()?;
    KEEPS.store(true, Ordering::Relaxed);
    Ok(&STOP)
}

/// Says so where the user stops before there is anything to keep, which [`stop_flag`] is for.
pub fn watch_stop() -> anyhow::Result<()> {
    static WATCHES: AtomicBool = AtomicBool::new(false);
    if WATCHES.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    ctrlc::set_handler(|| {
        if !KEEPS.load(Ordering::Relaxed) {
            eprintln!("flipside: stopped before there was anything to keep");
            std::process::exit(130);
        }
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!(
            "flipside: finishing the work in progress, then stopping; interrupt again to stop at once"
        );
    })?;
    Ok(())
}

/// Prints to the standard output; a closed pipe is an error to be passed on, not a panic.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(())
}

/// The screen, where the standard output is one, else `otherwise`.
pub fn view(otherwise: View) -> View {
    Screen::stdout().map_or(otherwise, View::Screen)
}

/// Prints sentences, wrapped where they go to a screen.
pub fn say(text: &str) -> anyhow::Result<()> {
    match Screen::stdout() {
        None => print(text),
        Some(screen) => {
            let lines: Vec<String> = text.lines().map(|line| screen.wrap("", line)).collect();
            print(&lines.join("\n"))
        }
    }
}

/// Prints a value as JSON.
pub fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}

/// Refuses a name for a safetensors file that says that another kind is in it.
pub fn check_safetensors_name(path: &Path) -> Result<()> {
    match path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("safetensors")) {
        true => Ok(()),
        false => Err(Error::usage(format!(
            "{}: what is written is a safetensors file, whose name should end in .safetensors",
            path.display()
        ))),
    }
}

/// Makes a folder for results.
pub fn create_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|source| match path.exists() && !path.is_dir() {
        true => Error::file(path, "is no folder, and can't be one"),
        false => Error::io(path, source),
    })
}

/// Makes the folder that a file is to lie in.
pub fn create_folder_of(file: &Path) -> Result<()> {
    match file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => create_folder(folder),
        None => Ok(()),
    }
}
