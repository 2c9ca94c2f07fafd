//! `flipside data synthesize`.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rayon::prelude::*;

use super::super::common::{progress, say, stop_flag};
use crate::data::builtin::{Shapes, Split, descriptions};
use crate::data::{ClassEntry, ClassList, Dataset, rgb_png};
use crate::progress::Progress;
use crate::study::BUILTIN_SEED;
use crate::text::descriptions::PlainDescription;
use crate::text::lines;
use crate::{Error, Result};

/// Write the images that `study` makes by itself as files
///
/// OUT/train and OUT/test have a folder of PNG files for each of ten classes of shapes and patterns, 32×32 pixels each.
/// OUT/classes.tsv is their class list, and OUT/descriptions.jsonl has five sentences about each class, as
/// `flipside embed` reads them. The same seed gives the same files.
#[derive(clap::Args)]
pub struct Args {
    /// Folder to make; it must not exist, or be empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Random seed; that of `study` if absent
    #[arg(long, default_value_t = BUILTIN_SEED)]
    seed: u64,
    /// Number of training images, of all classes together
    #[arg(long, value_name = "N", default_value_t = Split::Train.default_len() as u32,
          value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    train: u32,
    /// Number of test images, of all classes together
    #[arg(long, value_name = "N", default_value_t = Split::Test.default_len() as u32,
          value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    test: u32,
    /// Don't show progress
    #[arg(long, short)]
    quiet: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    check_empty(&args.out)?;
    let progress = progress(args.quiet);
    let hidden = hidden_beside(&args.out)?;
    let written = fill(args, &hidden, &*progress)
        .and_then(|()| std::fs::rename(&hidden, &args.out).map_err(|e| Error::io(&args.out, e)));
    if let Err(error) = written {
        // What it says is more than that this failed, too.
        let _ = std::fs::remove_dir_all(&hidden);
        return Err(error.into());
    }
    say(&format!(
        "{}: {} training and {} test images of {} classes",
        args.out.display(),
        args.train,
        args.test,
        descriptions().len()
    ))
}

/// Refuses a folder that holds something.
fn check_empty(out: &Path) -> Result<()> {
    match std::fs::read_dir(out) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(Error::usage(format!("{}: is there already", out.display()))),
            None => Ok(()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io(out, error)),
    }
}

/// A folder that becomes `out` once it is whole.
fn hidden_beside(out: &Path) -> Result<PathBuf> {
    let name = out.file_name().ok_or_else(|| Error::file(out, "names no folder"))?;
    let hidden = format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id());
    Ok(out.with_file_name(hidden))
}

fn fill(args: &Args, root: &Path, progress: &dyn Progress) -> Result<()> {
    let stop = stop_flag().map_err(|error| Error::usage(error.to_string()))?;
    progress.begin("images", "images", 0, u64::from(args.train) + u64::from(args.test));
    for (split, count) in [(Split::Train, args.train), (Split::Test, args.test)] {
        // Drawn as they are written: there is no need to hold all of them.
        let shapes = Shapes::new(args.seed, split, 0);
        let places: Vec<usize> = (0..count as usize).collect();
        for some in places.chunks(256) {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::file(
                    &args.out,
                    "stopped before it was whole; nothing was written",
                ));
            }
            some.par_iter().try_for_each(|&i| picture(root, &shapes, (args.seed, i)))?;
            progress.advance(some.len() as u64, "");
        }
    }
    progress.end();
    let mut classes: Vec<(ClassEntry, [&str; 5])> = Shapes::new(args.seed, Split::Test, 0)
        .classes()
        .iter()
        .cloned()
        .zip(descriptions().iter().map(|about| about.answers))
        .collect();
    // The order of their folders.
    classes.sort_by(|a, b| a.0.id.cmp(&b.0.id));
    let list = ClassList::from_entries(classes.iter().map(|(entry, _)| entry.clone()).collect());
    write(&root.join("classes.tsv"), list.to_text()?.as_bytes())?;
    write(&root.join("descriptions.jsonl"), sentences(&classes)?.as_bytes())
}

/// Writes a picture to where its path says, less the word that built-in paths begin with.
fn picture(root: &Path, shapes: &Shapes, (seed, i): (u64, usize)) -> Result<()> {
    let (image, path) = shapes.picture(seed, i);
    let file = root.join(path.trim_start_matches("shapes/")).with_extension("png");
    write(&file, &rgb_png(&image)?)
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    let written = match file.parent() {
        Some(folder) => std::fs::create_dir_all(folder),
        None => Ok(()),
    };
    written.and_then(|()| std::fs::write(file, bytes)).map_err(|source| Error::io(file, source))
}

/// What is said about the classes, as a file of descriptions has it.
fn sentences(classes: &[(ClassEntry, [&str; 5])]) -> Result<String> {
    let mut text = String::new();
    for (entry, answers) in classes {
        for (template, answer) in answers.iter().enumerate() {
            text.push_str(&lines::line(&PlainDescription {
                class: entry.id.clone(),
                name: entry.name.clone(),
                template,
                text: answer.to_string(),
            })?);
        }
    }
    Ok(text)
}
