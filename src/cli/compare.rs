//! `flipside compare`.

use std::path::PathBuf;

use super::common::{FormatArgs, IntervalArgs, print, print_json};
use crate::analysis::compare::{Pairing, compare_all};
use crate::report::comparison_text;
use crate::results::Run;
use crate::{Error, Result};

/// Compare injection campaigns: the improvement of each OTHER over BASELINE
///
/// Prints a row for each pair with the columns of the published table, other readings of them, rates, and
/// what was published for the backbone. Ratios are of mean ΔLoss under the range detector, BASELINE ÷ OTHER:
/// above 1, OTHER is harmed less. The campaigns must have the same images, seed and number of injections (see
/// `inject --right-in`), unless --unpaired is given. Where campaigns were restricted to some layers, the
/// layers that both have are compared, and the others are named.
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
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    intervals: IntervalArgs,
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
    let comparisons = compare_all(&pairs, pairing, &intervals)?;
    match args.format.view() {
        None => print_json(&comparisons),
        Some(view) => print(&comparison_text(&comparisons, view)),
    }
}
