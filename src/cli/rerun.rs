//! `flipside rerun`.

mod again;
mod kept;

use std::fmt;
use std::path::PathBuf;

use serde_json::json;

use self::kept::{Again, ComparedRun, KeptRun};
use super::common::{create_folder_of, print_json, progress, say, stop_flag};
use crate::Error;

/// Repeat a run, and say whether it comes to the same bits
///
/// RUN is the store of a campaign or a census (`inject --out`), or the folder of a training run (`train --out`) or of a study (`study --out`). It is run
/// again by the flags that it keeps, from the folder that the first command was run in, since its paths may be relative to
/// it, and compared: what was run on what, fault-free answers, every record; or epochs, weights, moments; of a study each seed's models, campaigns and figures. What differs first
/// is told, with exit code 3. What
/// may differ, since no bit depends on it (the commit, the processor, threads), is told, too.
#[derive(clap::Args)]
pub struct Args {
    /// Store or folder of the run
    run: PathBuf,
    /// Data set, where it lies elsewhere now
    #[arg(long)]
    data: Option<PathBuf>,
    /// Checkpoint of a campaign, where it lies elsewhere now
    #[arg(long)]
    checkpoint: Option<PathBuf>,
    /// Keep what is run again: a store, or a folder; if absent nothing is kept
    #[arg(long)]
    out: Option<PathBuf>,
    /// CPU threads, up to 1024; 0 uses all cores. Results don't depend on it
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=1024))]
    threads: u16,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// Don't show progress
    #[arg(long, short)]
    quiet: bool,
}

/// A run that came out otherwise: exit code 3.
#[derive(Debug)]
pub struct Unequal(String);

impl fmt::Display for Unequal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unequal {}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let all = KeptRun::all(&args.run)?;
    if let Some(out) = &args.out {
        if out.exists() {
            return Err(Error::usage(format!("{} is there already", out.display())).into());
        }
        create_folder_of(out)?;
    }
    if args.checkpoint.is_some() && all.iter().any(KeptRun::trains) {
        return Err(Error::usage(
            "--checkpoint has no effect with a training run or a study, which begin from what their flags say",
        )
        .into());
    }
    // What is run again is ended, and its files are deleted.
    let stop = stop_flag()?;
    let scratch = tempfile::tempdir().map_err(|source| Error::io(std::env::temp_dir(), source))?;
    let to = args.out.clone().unwrap_or_else(|| scratch.path().join("again"));
    let again = Again {
        to: &to,
        data: args.data.as_deref(),
        checkpoint: args.checkpoint.as_deref(),
        threads: args.threads,
        quiet: args.quiet,
    };
    let progress = progress(args.quiet);
    let mut comparisons = Vec::new();
    for kept in &all {
        progress.line(&format!("{}: {} once more", args.run.display(), kept.what()));
        let words = kept.words(&again)?;
        let early = again::run(words, stop, || kept.setting_difference(&to))?;
        comparisons.push(match early {
            Some(difference) => ComparedRun::ended(difference, args.out.as_deref()),
            None => kept.compare(&to)?,
        });
    }
    tell(args, &comparisons)
}

fn tell(args: &Args, comparisons: &[ComparedRun]) -> anyhow::Result<()> {
    let run = args.run.display();
    let difference = comparisons.iter().find_map(|comparison| comparison.difference.as_ref());
    let notes = comparisons.iter().flat_map(|comparison| &comparison.notes);
    if args.json {
        let equal = comparisons.iter().filter(|comparison| comparison.difference.is_none());
        let equal: Vec<&String> = equal.map(|comparison| &comparison.compared).collect();
        print_json(&json!({
            "run": args.run,
            "equal": difference.is_none(),
            "difference": difference,
            "equal_parts": equal,
            "notes": notes.collect::<Vec<_>>(),
        }))?;
    } else {
        let line = |comparison: &ComparedRun| match &comparison.difference {
            None => format!("{run}: equal in bits: {}", comparison.compared),
            Some(difference) => format!("{run}: differs: {difference}"),
        };
        let lines: Vec<String> = comparisons.iter().map(line).chain(notes.cloned()).collect();
        say(&lines.join("\n"))?;
    }
    match difference {
        None => Ok(()),
        Some(_) => Err(Unequal(format!("{run} doesn't come out the same")).into()),
    }
}
