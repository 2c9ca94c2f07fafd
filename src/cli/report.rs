//! `flipside report`.

use std::path::PathBuf;

use super::common::{FormatArgs, IntervalArgs, print, print_json};
use crate::campaign::breakdown::{By, breakdown};
use crate::campaign::{Detector, Run};
use crate::report::{Format, run_json, run_text};

/// Print the figures of an injection campaign, taken apart by layer, bit, channel or position
///
/// By layer, the whole network is added: layers alike, weighted by neurons, and by multiply-accumulates. By
/// bit, all layers count alike unless --layer names one.
#[derive(clap::Args)]
pub struct Args {
    /// Store of the campaign
    run: PathBuf,
    /// layer, bit, channel, or position (row and column)
    #[arg(long, default_value = "layer", value_name = "WHAT")]
    by: By,
    /// This layer alone
    #[arg(long)]
    layer: Option<String>,
    /// none or range; every detector of the run if absent
    #[arg(long, value_parser = |name: &str| Detector::parse(name))]
    detector: Option<Detector>,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    intervals: IntervalArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let run = Run::open(&args.run)?;
    let how = args.intervals.over(run.manifest.plan.seed);
    let detectors = match args.detector {
        Some(detector) => vec![detector],
        None => run.manifest.plan.detectors.clone(),
    };
    let figures = breakdown(&run, args.by, args.layer.as_deref(), &detectors, &how)?;
    match args.format.format() {
        Format::Json => print_json(&run_json(&run, &figures, &how)),
        format => print(&run_text(&run, &figures, &how, format)),
    }
}
