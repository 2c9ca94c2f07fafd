//! `flipside report`.

mod page;
mod worst;

use std::fmt;
use std::path::{Path, PathBuf};

use self::worst::PictureArgs;
use super::common::{FormatArgs, IntervalArgs, print, print_json, progress, refuse_idle};
use crate::analysis::breakdown::{By, breakdown};
use crate::analysis::compare::Pairing;
use crate::analysis::{Arrangement, Decision, ReportColumn, Requirement, check};
use crate::campaign::Partial;
use crate::census::{Census, Mode};
use crate::checkpoint::atomic;
use crate::detector::Detector;
use crate::plan::Protocol;
use crate::report::{
    arranged_text, census_json, census_resumed, census_text, partial_json, partial_text,
    requirements_text, run_json, write_junit,
};
use crate::results::{Run, is_store};
use crate::{Error, Result};

/// Print the figures of a campaign by layer, bit, direction or place
///
/// By layer, figures of the whole network are added, with layers weighted equally, by neurons, and by
/// multiply-accumulates. By bit and by direction, all layers, or those that --layer names, have equal weight.
///
/// On a terminal the table has the columns that fit; a pipe (`| less -S`), a file and --format markdown get
/// all of them.
#[derive(clap::Args)]
pub struct Args {
    /// Store of the campaign; with --html or --figures also a baseline's and others', which are compared
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Write a page for a browser instead; figures, tables, how to read them, and the command that repeats the
    /// campaign, in one file that needs no network
    #[arg(long, value_name = "FILE",
          conflicts_with_all = ["by", "layer", "sort", "top", "detector", "exhaustive", "require", "format", "json"])]
    html: Option<PathBuf>,
    /// Write the page's figures into this folder; each as SVG, as SVG for print, as CSV and as a LaTeX table
    #[arg(long, value_name = "DIR",
          conflicts_with_all = ["by", "layer", "sort", "top", "detector", "exhaustive", "require", "format", "json"])]
    figures: Option<PathBuf>,
    /// With --html or --figures: compare campaigns whose faults differ, as `compare --unpaired` does
    #[arg(long)]
    unpaired: bool,
    #[command(flatten)]
    pictures: PictureArgs,
    /// layer, bit, direction, channel or position; directions of a flip are 0-to-1 and 1-to-0, positions row and column
    #[arg(long, default_value = "layer", value_name = "WHAT")]
    by: By,
    /// Only these layers; a name, a pattern with *, or a type as in type:conv2d; repeatable
    #[arg(long)]
    layer: Vec<String>,
    /// Sort the rows by this figure; the largest comes first, under each detector on its own: sdc, sdc5, nonfinite,
    /// sdc-or-nonfinite, masked, benign, delta-p or delta-loss (without a detector its last quantile)
    #[arg(long, value_name = "FIGURE")]
    sort: Option<ReportColumn>,
    /// Print only the first N rows; under each detector, and how many are left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    top: Option<u32>,
    /// Print what `inject --exhaustive` counted instead: last-layer, last-layer-weights or
    /// last-layer-features
    #[arg(long, value_name = "POPULATION",
          conflicts_with_all = ["by", "layer", "sort", "top", "detector", "confidence", "interval", "unit",
                            "require"])]
    exhaustive: Option<Mode>,
    /// Print what there is so far; of a campaign that still runs or was stopped, or of a shard. The figures are of the images
    /// whose injections are all there, and marked as partial
    #[arg(long, conflicts_with_all = ["html", "figures", "require", "exhaustive"])]
    partial: bool,
    /// Only this error detector; every one of the campaign if absent
    #[arg(long)]
    detector: Option<Detector>,
    /// Fail (exit code 3) unless this holds; [WHERE:]FIGURE<NUMBER, as in 'sdc<0.02'; repeatable
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
    let has_pictures = args.pictures.checkpoint().is_some();
    refuse_idle([("--checkpoint", has_pictures && args.html.is_none(), "without --html")])?;
    args.pictures.check()?;
    for output in args.html.iter().chain(&args.junit) {
        keep_inputs(output, &args.runs, args.pictures.checkpoint())?;
    }
    if args.html.is_some() || args.figures.is_some() {
        let pairing = if args.unpaired { Pairing::Unpaired } else { Pairing::Paired };
        refuse_idle([(
            "--unit",
            args.html.is_none() && args.runs.len() == 1 && args.intervals.has_unit(),
            "on figures of a single run: it is of means, and they are of rates",
        )])?;
        let pictures = args.pictures.pictures(&args.runs[0], &*progress(false))?;
        let wanted = page::PageRequest {
            html: args.html.as_deref(),
            figures: args.figures.as_deref(),
            pictures: pictures.as_ref(),
        };
        return page::write(&args.runs, pairing, &args.intervals.intervals(), &wanted);
    }
    refuse_idle([("--unpaired", args.unpaired, "without --html or --figures")])?;
    let [path] = args.runs.as_slice() else {
        return Err(Error::usage(
            "several campaigns are reported as a page (--html) or as figures (--figures); `flipside compare` prints \
             them as text",
        )
        .into());
    };
    if let Some(mode) = args.exhaustive {
        return census(args, path, mode);
    }
    let (run, partial) = match args.partial {
        true => partial(path).map(|(run, partial)| (run, Some(partial)))?,
        false => (Run::open(path)?, None),
    };
    let is_text = args.format.view().is_some();
    let is_goldeneye = run.manifest.plan.protocol == Protocol::Goldeneye;
    let theirs = "on a run by GoldenEye's protocol: its figures have normal intervals of 99 %";
    let has_their_table = is_goldeneye && is_text && args.by == By::Layer;
    let arrangement = args.arrangement();
    refuse_idle([
        (
            "--confidence, --interval or --unit",
            has_their_table && args.intervals.are_given(),
            theirs,
        ),
        (
            "--sort or --top",
            has_their_table && arrangement != Arrangement::default(),
            "on a run by GoldenEye's protocol: its table is in their order",
        ),
    ])?;
    let how = args.intervals.intervals();
    let detectors = match args.detector {
        Some(detector) => vec![detector],
        None => run.manifest.plan.detectors.clone(),
    };
    let names: Vec<&str> = args.layer.iter().map(String::as_str).collect();
    let layers = (!names.is_empty()).then_some(&names[..]);
    let figures = breakdown(&run, args.by, layers, &detectors, &how)?;
    if is_goldeneye && !args.require.is_empty() {
        let detail = "--require takes rates of the strict protocol; the run is by GoldenEye's";
        return Err(Error::file(path, detail).into());
    }
    let checked = match args.by {
        _ if args.require.is_empty() => Vec::new(),
        By::Layer => check(&args.require, &figures)?,
        _ => check(&args.require, &breakdown(&run, By::Layer, layers, &detectors, &how)?)?,
    };
    let arranged = arrangement.of(figures);
    if let Some(junit) = &args.junit {
        let suite = path.display().to_string();
        atomic::write(junit, |out| write_junit(&suite, &checked, out))?;
    }
    let printed = match args.format.view() {
        None => {
            let mut report = run_json(&run, &arranged.figures, &how);
            if let Some(partial) = &partial {
                report["partial"] = partial_json(partial);
            }
            if arrangement != Arrangement::default() {
                report["arrangement"] = serde_json::to_value(arrangement)?;
                report["left_out"] = serde_json::to_value(&arranged.left_out)?;
            }
            if !checked.is_empty() {
                report["requirements"] = serde_json::to_value(&checked)?;
            }
            print_json(&report)
        }
        Some(view) => {
            let above = partial.map_or(String::new(), |partial| partial_text(&partial, view));
            let mut text = above + &arranged_text(&run, &arranged, &how, view);
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

impl Args {
    fn arrangement(&self) -> Arrangement {
        Arrangement { sort: self.sort, top: self.top.map(|most| most as usize) }
    }
}

/// What a store holds of a campaign.
fn partial(path: &Path) -> Result<(Run, Partial)> {
    let (run, shards) = Run::open_partial(path)?;
    Partial::of(run, &shards).map_err(|error| Error::file(path, error.to_string()))
}

/// Refuses to write over what is read, and over any other store.
fn keep_inputs(output: &Path, runs: &[PathBuf], checkpoint: Option<&Path>) -> Result<()> {
    let Ok(place) = output.canonicalize() else { return Ok(()) };
    let mut inputs = runs.iter().map(PathBuf::as_path).chain(checkpoint);
    let is_read = inputs.any(|input| input.canonicalize().is_ok_and(|input| input == place));
    if is_read || is_store(&place) {
        let what = if is_read { "is read, too" } else { "is a store of injections" };
        return Err(Error::file(output, format!("{what}, and would be lost: name another file")));
    }
    Ok(())
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
fn census(args: &Args, run: &Path, mode: Mode) -> anyhow::Result<()> {
    let (census, manifest) = Census::open(run, mode)?;
    if !census.is_complete() {
        let detail = format!(
            "holds a census of {} of {} images: `{}` goes on with it",
            census.counted,
            census.images,
            census_resumed(run, mode)
        );
        return Err(Error::file(run, detail).into());
    }
    let over = manifest.setting.ranges_over.as_ref();
    match args.format.view() {
        None => print_json(&census_json(&census, over)),
        Some(view) => print(&census_text(&census, over, view)),
    }
}
