//! `flipside compare`.

use std::path::PathBuf;

use super::common::{print, print_json};
use crate::campaign::Run;
use crate::campaign::compare;
use crate::report::comparison_text;

/// Compare two injection campaigns: the improvement of OTHER over BASELINE
///
/// Both must be of the same images, seed and number of injections (`inject --right-in`). Ratios are
/// of mean ΔLoss under the range detector, BASELINE ÷ OTHER: above 1 OTHER is harmed less.
#[derive(clap::Args)]
pub struct Args {
    /// Store of the baseline's campaign
    baseline: PathBuf,
    /// Store of the other model's campaign
    other: PathBuf,
    /// Print JSON for machines instead of text
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let comparison = compare::compare(&Run::open(&args.baseline)?, &Run::open(&args.other)?)?;
    if args.json { print_json(&comparison) } else { print(&comparison_text(&comparison)) }
}
