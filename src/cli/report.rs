//! `flipside report`.

use std::path::PathBuf;

use super::common::{FormatArgs, IntervalArgs, print, print_json, refuse_idle};
use crate::Error;
use crate::analysis::breakdown::{By, breakdown};
use crate::census::{Census, Mode};
use crate::detector::Detector;
use crate::plan::Protocol;
use crate::report::{census_json, census_text, run_json, run_text};
use crate::results::Run;

/// Print the figures of an injection campaign by layer, bit, direction, channel or position
///
/// By layer, figures of the whole network are added, with layers weighted equally, by neurons, and by
/// multiply-accumulates. By bit and by direction, all layers have equal weight unless --layer names one.
///
/// On a terminal the table has the columns that fit; a pipe (`| less -S`), a file and --format markdown get
/// all of them.
#[derive(clap::Args)]
pub struct Args {
    /// Store of the campaign
    run: PathBuf,
    /// layer, bit, direction (of the flip: 0-to-1 or 1-to-0), channel, or position (row and column)
    #[arg(long, default_value = "layer", value_name = "WHAT")]
    by: By,
    /// Only this layer
    #[arg(long)]
    layer: Option<String>,
    /// Print what `inject --exhaustive` counted instead: last-layer, last-layer-weights or
    /// last-layer-features
    #[arg(long, value_name = "POPULATION",
          conflicts_with_all = ["by", "layer", "detector", "confidence", "interval", "unit"])]
    exhaustive: Option<Mode>,
    /// Only this error detector; every one of the campaign if absent
    #[arg(long)]
    detector: Option<Detector>,
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
    match args.format.view() {
        None => print_json(&run_json(&run, &figures, &how)),
        Some(view) => print(&run_text(&run, &figures, &how, view)),
    }
}

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
