//! `flipside merge`.

use std::path::PathBuf;

use super::common::{print_json, say};
use crate::results::{Run, merge};

/// Combine the shards of one campaign
///
/// Shards are written by `inject --shard` and may be given in any order, together with stores that were
/// merged before. They must belong to one campaign, and each shard may be there once. When all shards are
/// there, the results are those of a campaign that was run in one piece, to the last byte of `flipside
/// export`.
#[derive(clap::Args)]
pub struct Args {
    /// Stores to combine
    #[arg(required = true)]
    shards: Vec<PathBuf>,
    /// Store to write
    #[arg(long)]
    out: PathBuf,
    /// Print JSON instead of text
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
        return say(&format!("{out}: {held} of {of} shards"));
    }
    let run = Run::open(&args.out)?;
    let (records, sha256) = (run.records.len(), run.results_sha256());
    if args.json {
        let value = serde_json::json!({
            "shards": held, "of": of, "records": records, "results_sha256": sha256,
        });
        return print_json(&value);
    }
    say(&format!("{out}: all {of} shards, {records} records\nResults (SHA-256): {sha256}"))
}
