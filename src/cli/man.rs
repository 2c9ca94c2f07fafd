//! `flipside man`.

use std::path::PathBuf;

use super::common::{create_folder, say};
use crate::Error;

/// Write manual pages for the program and its commands
///
/// The pages are flipside.1, flipside-train.1 and so on: copy them to a folder man1 of the manual's
/// path, or read one with `man ./flipside-train.1`.
#[derive(clap::Args)]
pub struct Args {
    /// The folder to write the pages to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    create_folder(&args.out)?;
    let failed = |error| Error::io(&args.out, error);
    clap_mangen::generate_to(super::topics::command(), &args.out).map_err(failed)?;
    say(&format!("{}: manual pages, flipside.1 first", args.out.display()))
}
