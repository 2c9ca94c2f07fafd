//! `flipside data info`.

use serde::Serialize;

use super::super::common::{print, print_json, progress, use_threads};
use super::super::dataset::SetArgs;
use crate::data::{SetLayout, SizeSpread, SplitSurvey};
use crate::error::MOST_NAMED;

/// Say what a data set is, and which of its images can't be read
///
/// Its layout, its splits, how many images and classes each has, their sizes and formats, what is passed over, and every image
/// that can't be read. Numbers of images are held against the published ones of known sets, and files against
/// published hashes. The command fails if an image can't be read.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    set: SetArgs,
    /// Split to look at; may be given several times. All of them if absent
    #[arg(long, value_name = "NAME")]
    split: Vec<String>,
    /// Read only what files say of themselves; images that are damaged further on aren't found
    #[arg(long)]
    headers: bool,
    /// CPU threads, up to 1024; 0 uses all cores
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=1024))]
    threads: u16,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// Don't show progress
    #[arg(long, short)]
    quiet: bool,
}

/// What is said of a set.
#[derive(Serialize)]
struct Info {
    layout: String,
    /// Of its files, and of how many images were published.
    notes: Vec<String>,
    splits: Vec<SplitInfo>,
}

#[derive(Serialize)]
struct SplitInfo {
    split: String,
    #[serde(flatten)]
    survey: SplitSurvey,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    use_threads(args.threads)?;
    let progress = progress(args.quiet);
    let splits = args.set.find(&*progress)?;
    let layout = splits.layout();
    let mut info = Info { layout: layout.to_string(), notes: Vec::new(), splits: Vec::new() };
    if layout != SetLayout::Folders {
        // What can't be read of a split that is looked at ends the command below.
        info.notes = layout.verify(splits.root()).unwrap_or_else(|error| vec![error.to_string()]);
    }
    let has_both = splits.has_train()? && args.split.is_empty();
    if has_both && let Err(error) = splits.train_and_held_out(None) {
        info.notes.push(format!("can't be trained on: {error}"));
    }
    for (split, set) in splits.chosen_or_whole(&args.split)? {
        let survey = SplitSurvey::of(&set, args.headers, &*progress);
        info.splits.push(SplitInfo { split, survey });
    }
    match args.json {
        true => print_json(&info)?,
        false => print(&text(&info, &args.set.data.display().to_string(), layout))?,
    }
    let unreadable: usize = info.splits.iter().map(|split| split.survey.unreadable.len()).sum();
    if unreadable > 0 {
        anyhow::bail!("{}: {} can't be read", args.set.data.display(), counted(unreadable));
    }
    Ok(())
}

fn text(info: &Info, name: &str, layout: SetLayout) -> String {
    let mut lines = vec![format!("{name}: {}", layout.title())];
    lines.extend(info.notes.iter().map(|note| format!("  {note}")));
    for SplitInfo { split, survey } in &info.splits {
        let split = if split.is_empty() { "images" } else { split };
        lines.push(format!(
            "{split}: {} of {} classes, {} a class; {} bytes",
            counted(survey.images),
            survey.classes,
            spread(survey.images_a_class),
            survey.bytes
        ));
        lines.push(format!(
            "  height {}, width {} pixels",
            spread(survey.heights),
            spread(survey.widths)
        ));
        for (format, count) in &survey.formats {
            lines.push(format!("  {count} {format}"));
        }
        if survey.oriented > 0 {
            lines.push(format!(
                "  {} with an EXIF orientation, which isn't applied, as torchvision doesn't",
                counted(survey.oriented)
            ));
        }
        lines.extend(survey.passed_over.iter().map(|line| format!("  {line}")));
        for unreadable in survey.unreadable.iter().take(MOST_NAMED) {
            lines.push(format!("  can't be read: {}", unreadable.error));
        }
        if survey.unreadable.len() > MOST_NAMED {
            let more = survey.unreadable.len() - MOST_NAMED;
            lines.push(format!("  and {more} more; --json names all"));
        }
        lines.push(format!("  fingerprint {}", survey.fingerprint));
    }
    lines.join("\n")
}

/// `1 image`, `7 images`.
fn counted(images: usize) -> String {
    format!("{images} {}", if images == 1 { "image" } else { "images" })
}

/// `3`, or `2 to 9 (median 5)`.
fn spread(of: SizeSpread) -> String {
    match of {
        SizeSpread { least, most, .. } if least == most => least.to_string(),
        SizeSpread { least, median, most } => format!("{least} to {most} (median {median})"),
    }
}
