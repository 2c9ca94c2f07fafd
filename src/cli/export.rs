//! `flipside export`.

use std::path::PathBuf;

use super::common::print;
use crate::campaign::{Run, write_csv};
use crate::checkpoint::atomic;

/// Write a campaign's records for other programs: a row for each injection under each detector
///
/// `docs/reading-results.md` explains the columns.
#[derive(clap::Args)]
pub struct Args {
    /// The store of a whole campaign
    run: PathBuf,
    /// The file to write: .csv
    #[arg(long)]
    out: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let run = Run::open(&args.run)?;
    atomic::write(&args.out, |out| write_csv(&run, out))?;
    print(&format!("{}: {} records", args.out.display(), run.records.len()))
}
