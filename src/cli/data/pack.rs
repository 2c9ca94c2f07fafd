//! `flipside data pack`.

use std::path::PathBuf;

use super::super::common::{print_json, progress, say, stop_flag};
use super::super::dataset::{SetArgs, SkipArgs, keep_data};
use crate::data::{Dataset, PackForm, write_pack};

/// Pack a data set into one file
///
/// The file is read where it lies in memory, and `--data FILE` takes it everywhere. Order, labels, paths and
/// fingerprint are those of the set, so that results are the same to the bit. Every image is decoded once to be sure
/// that it can be.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    set: SetArgs,
    #[command(flatten)]
    skip: SkipArgs,
    /// Split to pack; may be given several times. All of them if absent
    #[arg(long, value_name = "NAME")]
    split: Vec<String>,
    /// Keep pixels instead of the images' files. Nothing is left to decode, and photographs take five to ten
    /// times the room
    #[arg(long)]
    decoded: bool,
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// Don't show progress
    #[arg(long, short)]
    quiet: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    keep_data(&args.out, &args.set.data)?;
    let progress = progress(args.quiet);
    let splits = args.set.find(&*progress)?;
    let mut sets: Vec<(String, Box<dyn Dataset>)> = Vec::new();
    for (name, set) in splits.chosen(&args.split)? {
        set.say_notes(&*progress);
        sets.push((name, Box::new(args.skip.apply(set, &*progress)?)));
    }
    let form = if args.decoded { PackForm::Decoded } else { PackForm::Encoded };
    let packed = write_pack(&sets, &args.out, form, &*progress, stop_flag()?)?;
    if args.json {
        return print_json(&packed);
    }
    let names: Vec<&str> = sets.iter().map(|(name, _)| name.as_str()).collect();
    say(&format!(
        "{}: {} images ({}), {} bytes, SHA-256 {}",
        args.out.display(),
        packed.images,
        names.join(", "),
        packed.bytes,
        packed.sha256
    ))
}
