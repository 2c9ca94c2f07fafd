//! `flipside report --html` and `--figures`: a campaign as a page, and its figures as files.

use std::path::{Path, PathBuf};

use super::super::common::{create_folder, say};
use crate::analysis::Intervals;
use crate::analysis::compare::Pairing;
use crate::checkpoint::atomic;
use crate::page::{Pictures, Subject, figures, html};
use crate::results::{Run, verified};
use crate::{Error, Result};

/// What is written.
pub(super) struct PageRequest<'a> {
    pub html: Option<&'a Path>,
    pub figures: Option<&'a Path>,
    /// Of the page's worst faults.
    pub pictures: Option<&'a Pictures>,
}

/// Writes what is wanted of one run, or of a baseline and others.
pub(super) fn write(
    runs: &[PathBuf],
    pairing: Pairing,
    how: &Intervals,
    wanted: &PageRequest,
) -> anyhow::Result<()> {
    if pairing == Pairing::Unpaired && runs.len() == 1 {
        return Err(Error::usage("--unpaired has no effect on a single run").into());
    }
    let paths = runs;
    let runs: Vec<Run> = paths.iter().map(|path| Run::open(path)).collect::<Result<_>>()?;
    let runs: Vec<&Run> = runs.iter().collect();
    let mut subject = Subject::new(&runs, pairing, how)?;
    if let Some(words) = what_differs(paths) {
        subject.tell_apart(&words);
    }
    for (side, path) in subject.sides.iter_mut().zip(paths) {
        side.verified = verified(path)?;
    }
    let figures = figures(&subject)?;
    if let Some(path) = wanted.html {
        let text = html(&subject, &figures, wanted.pictures);
        atomic::write(path, |out| out.write_all(text.as_bytes()))?;
        say(&format!(
            "{}: {} figures, {} kB",
            path.display(),
            figures.len(),
            text.len().div_ceil(1000)
        ))?;
    }
    if let Some(folder) = wanted.figures {
        create_folder(folder)?;
        for figure in &figures {
            for (name, text) in figure.files() {
                atomic::write(&folder.join(name), |out| out.write_all(text.as_bytes()))?;
            }
        }
        say(&format!("{}: {} figures", folder.display(), figures.len()))?;
    }
    Ok(())
}

/// What of paths differs: less the folders that all begin with and the names that all end with. Nothing where paths are
/// the same, or where one is the beginning or the end of another.
fn what_differs(paths: &[PathBuf]) -> Option<Vec<String>> {
    let parts: Vec<Vec<String>> = paths
        .iter()
        .map(|path| path.iter().map(|part| part.to_string_lossy().into_owned()).collect())
        .collect();
    let shortest = parts.iter().map(Vec::len).min()?;
    let are_alike = |at: &dyn Fn(&Vec<String>) -> usize| {
        parts.iter().all(|part| part[at(part)] == parts[0][at(&parts[0])])
    };
    let first = (0..shortest).take_while(|place| are_alike(&|_| *place)).count();
    let last = (0..shortest).take_while(|place| are_alike(&|part| part.len() - 1 - place)).count();
    let words = |part: &Vec<String>| {
        part.get(first..part.len().checked_sub(last)?).map(|kept| kept.join("/"))
    };
    let words: Vec<String> = parts.iter().map(words).collect::<Option<_>>()?;
    let are_unlike = words.iter().enumerate().all(|(at, word)| !words[..at].contains(word));
    (are_unlike && !words.contains(&String::new())).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_apart_by_what_differs() {
        let of =
            |paths: &[&str]| what_differs(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        let words = |words: &[&str]| Some(words.iter().map(|word| word.to_string()).collect());
        assert_eq!(
            of(&["out/seed-1/random/run.sqlite", "out/seed-1/text/run.sqlite"]),
            words(&["random", "text"])
        );
        assert_eq!(of(&["a.sqlite", "b.sqlite"]), words(&["a.sqlite", "b.sqlite"]));
        assert_eq!(of(&["a.sqlite", "a.sqlite"]), None);
        assert_eq!(of(&["x/run.sqlite", "x/y/run.sqlite"]), None);
        assert_eq!(of(&["a.sqlite"]), None);
    }
}
