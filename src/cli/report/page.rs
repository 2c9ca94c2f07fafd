//! `flipside report --html` and `--figures`: a campaign as a page, and its figures as files.

use std::path::{Path, PathBuf};

use super::super::common::{create_folder, say};
use crate::analysis::Intervals;
use crate::analysis::compare::Pairing;
use crate::checkpoint::atomic;
use crate::page::{Subject, figures, html};
use crate::results::Run;
use crate::{Error, Result};

/// What is written.
pub(super) struct Wanted<'a> {
    pub html: Option<&'a Path>,
    pub figures: Option<&'a Path>,
}

/// Writes what is wanted of one run, or of a baseline and others.
pub(super) fn write(
    runs: &[PathBuf],
    pairing: Pairing,
    how: &Intervals,
    wanted: &Wanted,
) -> anyhow::Result<()> {
    if pairing == Pairing::Unpaired && runs.len() == 1 {
        return Err(Error::usage("--unpaired has no effect on a single run").into());
    }
    let runs: Vec<Run> = runs.iter().map(|path| Run::open(path)).collect::<Result<_>>()?;
    let runs: Vec<&Run> = runs.iter().collect();
    let subject = Subject::new(&runs, pairing, how)?;
    let figures = figures(&subject)?;
    if let Some(path) = wanted.html {
        let text = html(&subject, &figures);
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
