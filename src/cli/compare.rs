//! `flipside compare`.

use std::path::PathBuf;

use super::common::{FormatArgs, IntervalArgs, print, print_json, refuse_idle};
use crate::analysis::compare::{
    BitsCompared, Pairing, PlannedReading, Reading, compare_asked, compare_bits,
};
use crate::report::{
    compared_bits_json, compared_bits_text, compared_layers_json, compared_layers_text,
    comparison_text,
};
use crate::results::Run;
use crate::{Error, Result};

/// Compare campaigns: the improvement of each OTHER over BASELINE
///
/// Prints a row for each pair with the columns of the published table, other readings of them, rates, and
/// what was published for the backbone. Ratios are of mean ΔLoss under the range detector, BASELINE ÷ OTHER:
/// above 1, OTHER is harmed less. The campaigns must have the same images, seed and number of injections (see
/// `inject --right-in`), unless --unpaired is given. Where campaigns were restricted to some layers, the
/// layers that both have are compared, and the others are named.
///
/// One reading is the primary one: name it before you look. All others are called lower or higher only where that
/// holds for all of them together (Holm's adjusted p-values).
#[derive(clap::Args)]
pub struct Args {
    /// Store of the baseline's campaign
    baseline: PathBuf,
    /// Stores of the other models' campaigns
    #[arg(required = true)]
    others: Vec<PathBuf>,
    /// Read the stores two by two, BASELINE OTHER BASELINE OTHER …: one row per backbone
    #[arg(long)]
    pairs: bool,
    /// Compare campaigns whose faults differ: other seeds, numbers of injections or images
    #[arg(long)]
    unpaired: bool,
    /// Print a table of the layers that both models have instead, or of the bits that faults flipped, each over all
    /// layers alike: layer or bit
    #[arg(long, value_name = "WHAT")]
    by: Option<CompareBy>,
    /// The primary reading, named in advance: delta-loss, delta-loss-neurons, delta-loss-macs,
    /// delta-loss-last-layer, delta-loss-last-layer-before-scale, sdc, nonfinite, sdc-range or nonfinite-range
    #[arg(long, default_value = "delta-loss", value_name = "READING")]
    primary: Reading,
    /// Test whether the two are equivalent in the primary reading, or OTHER not worse: within this factor of a
    /// ratio (1.1), or so many percentage points of a rate (0.5)
    #[arg(long, value_name = "FACTOR")]
    margin: Option<f64>,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    intervals: IntervalArgs,
}

/// What a comparison is taken apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum CompareBy {
    Layer,
    Bit,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let baseline = Run::open(&args.baseline)?;
    let others: Vec<Run> = args.others.iter().map(|path| Run::open(path)).collect::<Result<_>>()?;
    let pairs: Vec<[&Run; 2]> = if args.pairs {
        let all: Vec<&Run> = std::iter::once(&baseline).chain(&others).collect();
        if all.len() % 2 == 1 {
            return Err(Error::usage("--pairs takes an even number of stores").into());
        }
        all.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect()
    } else {
        others.iter().map(|other| [&baseline, other]).collect()
    };
    let pairing = if args.unpaired { Pairing::Unpaired } else { Pairing::Paired };
    let intervals = args.intervals.intervals();
    let question = PlannedReading::new(args.primary, args.margin)?;
    let has_primary = args.primary != Reading::default();
    refuse_idle([
        ("--margin", args.by.is_some() && args.margin.is_some(), "beside --by"),
        (
            "--primary",
            args.by == Some(CompareBy::Bit) && has_primary,
            "beside --by bit, whose family is the bits",
        ),
    ])?;
    let comparisons = compare_asked(&pairs, pairing, &intervals, &question)?;
    let bits = || -> Result<Vec<BitsCompared>> {
        let rows = pairs.iter().zip(&comparisons.rows);
        rows.map(|(pair, row)| compare_bits(*pair, pairing, &intervals, row)).collect()
    };
    match (args.by, args.format.view()) {
        (None, None) => print_json(&comparisons),
        (None, Some(view)) => print(&comparison_text(&comparisons, view)),
        (Some(CompareBy::Layer), None) => print_json(&compared_layers_json(&comparisons)),
        (Some(CompareBy::Layer), Some(view)) => print(&compared_layers_text(&comparisons, view)),
        (Some(CompareBy::Bit), None) => print_json(&compared_bits_json(&comparisons, &bits()?)),
        (Some(CompareBy::Bit), Some(view)) => {
            print(&compared_bits_text(&comparisons, &bits()?, view))
        }
    }
}
