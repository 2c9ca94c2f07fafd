//! `flipside merge`.

use std::path::PathBuf;

use super::common::{print, print_json};
use crate::results::{Run, merge};

/// Put the shards of one campaign together
///
/// Shards come from `inject --shard`, in any order; stores that were merged before may be among them.
/// They must be of one campaign, each shard once. With all of them there the results are those of a run
/// in one piece, to the last byte of `flipside export`.
#[derive(clap::Args)]
pub struct Args {
    /// Stores to put together
    #[arg(required = true)]
    shards: Vec<PathBuf>,
    /// The store to write
    #[arg(long)]
    out: PathBuf,
    /// Print JSON for machines instead of text
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let (held, of) = merge(&args.shards, &args.out)?;
    let out = args.out.display();
    if held < of {
        if args.json {
            return print_json(&serde_json::json!({ "shards": held, "of": of }));
        }
        return print(&format!("{out}: {held} of {of} shards"));
    }
    let run = Run::open(&args.out)?;
    let (records, sha256) = (run.records.len(), run.results_sha256());
    if args.json {
        let value = serde_json::json!({
            "shards": held, "of": of, "records": records, "results_sha256": sha256,
        });
        return print_json(&value);
    }
    print(&format!("{out}: all {of} shards, {records} records\nResults (SHA-256): {sha256}"))
}
