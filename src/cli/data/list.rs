//! `flipside data list`.

use std::path::PathBuf;

use super::super::common::{print, print_json, progress, say};
use super::super::dataset::{SetArgs, keep_data};
use crate::checkpoint::atomic;

/// Write the class list of a data set
///
/// The list has a line of index, folder name and class name for each class, separated by tabs, as --class-list and
/// --classes read it. Names are the set's own where it has such (words.txt, labels.txt, the devkit); else they
/// are the folders', with blanks for underscores, and can be edited.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    set: SetArgs,
    /// File to write; the standard output if absent
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long, conflicts_with = "out")]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let classes = args.set.find(&*progress(true))?.class_list()?;
    if args.json {
        return print_json(&classes.pairs());
    }
    let text = classes.to_text()?;
    // A new file beside the class folders is passed over there.
    if let Some(out) = args.out.as_deref().filter(|out| out.exists()) {
        keep_data(out, &args.set.data)?;
    }
    match &args.out {
        Some(path) => {
            atomic::write(path, |out| out.write_all(text.as_bytes()))?;
            say(&format!("{}: {} classes", path.display(), classes.len()))
        }
        None => print(&text),
    }
}
