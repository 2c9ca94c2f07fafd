//! `flipside export`.

use std::path::{Path, PathBuf};

use super::common::say;
use crate::checkpoint::atomic;
use crate::results::{Run, write_csv, write_parquet};
use crate::{Error, Result};

/// Write a campaign's records as CSV or Parquet, for other programs
///
/// `docs/reading-results.md` explains the columns.
#[derive(clap::Args)]
pub struct Args {
    /// Store of a complete campaign
    run: PathBuf,
    /// File to write: .csv or .parquet
    #[arg(long)]
    out: PathBuf,
}

/// What a file is written as.
enum FileFormat {
    Csv,
    Parquet,
}

impl FileFormat {
    fn of(path: &Path) -> Result<FileFormat> {
        let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
        match extension.as_ref().and_then(|extension| extension.to_str()) {
            Some("csv") => Ok(FileFormat::Csv),
            Some("parquet") => Ok(FileFormat::Parquet),
            _ => Err(Error::usage(format!(
                "{}: the name of the file says what is written, and should end in .csv or .parquet",
                path.display()
            ))),
        }
    }
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let format = FileFormat::of(&args.out)?;
    let run = Run::open(&args.run)?;
    atomic::write(&args.out, |out| match format {
        FileFormat::Csv => write_csv(&run, out),
        FileFormat::Parquet => write_parquet(&run, out),
    })?;
    say(&format!("{}: {} records", args.out.display(), run.records.len()))
}
