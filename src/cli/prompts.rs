//! `flipside prompts`.

use std::path::PathBuf;

use super::common::{classes_of, print, say};
use crate::checkpoint::atomic;
use crate::error::Result;
use crate::text::descriptions::PlainDescription;
use crate::text::lines;
use crate::text::questions::{Question, Templates, shared_names};

/// Write questions about classes for a language model to answer
///
/// The result is JSON Lines with class, name, number of the template (from 0) and question, class by class.
/// With --plain the filled templates are descriptions themselves, ready for `flipside embed`: lines have a
/// text instead of a question. {class} is replaced by the name as the list has it; "a" before a vowel stays
/// "a".
#[derive(clap::Args)]
pub struct Args {
    /// Class list or data set; tab-separated lines of index, folder name, class name; or a data set's folder, whose class folders
    /// are the classes, by name
    #[arg(long, value_name = "FILE")]
    classes: PathBuf,
    /// Your own templates, one per line, each with {class}; lines that start with # are comments
    #[arg(long, value_name = "FILE")]
    templates: Option<PathBuf>,
    /// The templates are descriptions, not questions; without --templates, "a photo of a {class}"
    #[arg(long)]
    plain: bool,
    /// File to write; the standard output if absent
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let classes = classes_of(&args.classes)?;
    let templates = match (&args.templates, args.plain) {
        (Some(path), _) => Templates::open(path)?,
        (None, true) => Templates::plain(),
        (None, false) => Templates::questions(),
    };
    for (name, ids) in shared_names(&classes) {
        eprintln!(
            "note: {} are all called \"{name}\" and get the same sentences; tell them apart in {}",
            ids.join(" and "),
            args.classes.display()
        );
    }
    if let Some(id) =
        classes.entries().iter().map(|entry| &entry.name).find(|name| is_wordnet_id(name))
    {
        eprintln!(
            "note: {id} looks like a WordNet id, which says nothing in a sentence; a class list has names for it"
        );
    }
    let sentences = templates.about(&classes);
    let text: String = if args.plain {
        sentences.map(|s| lines::line(&PlainDescription::from(s))).collect::<Result<_>>()?
    } else {
        sentences.map(|s| lines::line(&Question::from(s))).collect::<Result<_>>()?
    };
    let Some(out) = &args.out else { return print(&text) };
    atomic::write(out, |file| file.write_all(text.as_bytes()))?;
    let (c, d) = (classes.len(), templates.sentences().len());
    let what = if args.plain { "descriptions" } else { "questions" };
    say(&format!("{}: {} {what} ({c} classes × {d})", out.display(), c * d))
}

/// Whether a name is one of ImageNet's folders: n and eight digits.
fn is_wordnet_id(name: &str) -> bool {
    let digits = name.strip_prefix('n');
    digits.is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit()))
}
