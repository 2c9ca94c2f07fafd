//! `flipside report`.

use std::fmt;
use std::path::PathBuf;

use super::common::{FormatArgs, IntervalArgs, print, print_json, refuse_idle};
use crate::Error;
use crate::analysis::breakdown::{By, breakdown};
use crate::analysis::{Decision, Requirement, check};
use crate::census::{Census, Mode};
use crate::checkpoint::atomic;
use crate::detector::Detector;
use crate::plan::Protocol;
use crate::report::{census_json, census_text, requirements_text, run_json, run_text, write_junit};
use crate::results::Run;

/// Print the figures of an injection campaign by layer, bit, channel or position
///
/// By layer, figures of the whole network are added, with layers weighted equally, by neurons, and by
/// multiply-accumulates. By bit, all layers have equal weight unless --layer names one.
///
/// On a terminal the table has the columns that fit; a pipe (`| less -S`), a file and --format markdown get
/// all of them.
#[derive(clap::Args)]
pub struct Args {
    /// Store of the campaign
    run: PathBuf,
    /// layer, bit, channel, or position (row and column)
    #[arg(long, default_value = "layer", value_name = "WHAT")]
    by: By,
    /// Only this layer
    #[arg(long)]
    layer: Option<String>,
    /// Print what `inject --exhaustive` counted instead: last-layer, last-layer-weights or
    /// last-layer-features
    #[arg(long, value_name = "POPULATION",
          conflicts_with_all = ["by", "layer", "detector", "confidence", "interval", "unit",
                            "require"])]
    exhaustive: Option<Mode>,
    /// Only this error detector; every one of the campaign if absent
    #[arg(long)]
    detector: Option<Detector>,
    /// Fail with exit code 3 unless a figure keeps to a bound: [WHERE:]FIGURE<NUMBER, as in 'sdc<0.02'; repeatable
    ///
    /// FIGURE is masked, benign, sdc, nonfinite, sdc-or-nonfinite, sdc5, delta-p or delta-loss. It is compared by <,
    /// <=, > or >= with a share (0.02, or 2%) or, for delta-loss, with nats. WHERE is network (layers alike; what
    /// is meant without WHERE), neurons or macs (the network weighted so), layers (each of them), or a layer's name.
    ///
    /// Its whole interval has to keep to the bound. Where the interval holds the bound, the figure isn't known well
    /// enough, which fails, too. Under every detector that is reported.
    #[arg(long, value_name = "CONDITION")]
    require: Vec<Requirement>,
    /// Write what came of each --require as a JUnit file, for services that run tests
    #[arg(long, value_name = "FILE", requires = "require")]
    junit: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    intervals: IntervalArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(mode) = args.exhaustive {
        return census(args, mode);
    }
    let run = Run::open(&args.run)?;
    let is_text = args.format.view().is_some();
    let is_goldeneye = run.manifest.plan.protocol == Protocol::Goldeneye;
    let theirs = "on a run by GoldenEye's protocol: its figures have normal intervals of 99 %";
    refuse_idle([(
        "--confidence, --interval or --unit",
        is_goldeneye && is_text && args.by == By::Layer && args.intervals.are_given(),
        theirs,
    )])?;
    let how = args.intervals.intervals();
    let detectors = match args.detector {
        Some(detector) => vec![detector],
        None => run.manifest.plan.detectors.clone(),
    };
    let figures = breakdown(&run, args.by, args.layer.as_deref(), &detectors, &how)?;
    if is_goldeneye && !args.require.is_empty() {
        let detail = "--require takes rates of the strict protocol; the run is by GoldenEye's";
        return Err(Error::file(&args.run, detail).into());
    }
    let checked = match args.by {
        _ if args.require.is_empty() => Vec::new(),
        By::Layer => check(&args.require, &figures)?,
        _ => {
            let layer = args.layer.as_deref();
            check(&args.require, &breakdown(&run, By::Layer, layer, &detectors, &how)?)?
        }
    };
    if let Some(path) = &args.junit {
        let suite = args.run.display().to_string();
        atomic::write(path, |out| write_junit(&suite, &checked, out))?;
    }
    let printed = match args.format.view() {
        None => {
            let mut report = run_json(&run, &figures, &how);
            if !checked.is_empty() {
                report["requirements"] = serde_json::to_value(&checked)?;
            }
            print_json(&report)
        }
        Some(view) => {
            let mut text = run_text(&run, &figures, &how, view);
            if !checked.is_empty() {
                text.push_str(&requirements_text(&checked, view));
            }
            print(&text)
        }
    };
    let of = |decision| checked.iter().filter(|row| row.decision == decision).count();
    let unmet = Unmet {
        all: checked.len(),
        violated: of(Decision::Violated),
        not_known: of(Decision::NotKnown),
    };
    // Even where whoever reads the report has read enough of it.
    if unmet.violated + unmet.not_known > 0 { Err(unmet.into()) } else { printed }
}

/// Requirements that aren't satisfied: exit code 3.
#[derive(Debug)]
pub struct Unmet {
    all: usize,
    violated: usize,
    not_known: usize,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unmet { all, violated, not_known } = self;
        write!(
            f,
            "of {all} figures that were required {violated} are out of bounds, and {not_known} not known well enough"
        )
    }
}

impl std::error::Error for Unmet {}

/// Prints a whole census.
fn census(args: &Args, mode: Mode) -> anyhow::Result<()> {
    let (census, manifest) = Census::open(&args.run, mode)?;
    if !census.is_complete() {
        let detail = format!(
            "holds a census of {} of {} images: run the same command with --resume",
            census.counted, census.images
        );
        return Err(Error::file(&args.run, detail).into());
    }
    let over = manifest.setting.ranges_over.as_ref();
    match args.format.view() {
        None => print_json(&census_json(&census, over)),
        Some(view) => print(&census_text(&census, over, view)),
    }
}
