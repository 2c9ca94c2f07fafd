//! A step of a reproduction: a command of this program with the file that it makes, and blocks of them.

use std::ffi::OsString;
use std::path::PathBuf;

use super::small::SmallFile;
use super::sources::Lack;
use crate::Result;
use crate::report::shell_word;
use crate::reproduce::{CampaignKind, RowName, is_trained, is_whole};

/// What a step makes, which says whether it is done.
#[derive(Clone, Debug)]
pub enum StepOutput {
    Training(PathBuf),
    Store(PathBuf),
    /// A file or a folder that is there as a whole or not at all.
    Path(PathBuf),
}

/// A command.
#[derive(Clone, Debug)]
pub struct CommandStep {
    /// What it does, in a few words.
    pub name: String,
    /// Behind the program's name.
    pub words: Vec<String>,
    /// Flags of this start, on which no result depends.
    pub beside: Vec<String>,
    pub made: StepOutput,
    /// A store without which there is nothing to do, since its campaign has no image.
    pub needs: Option<PathBuf>,
    pub work: StepWork,
    /// Whether of a training run the last model alone is kept.
    pub prunes: bool,
}

/// How much a step does, for a forecast.
#[derive(Clone, Copy, Debug)]
pub enum StepWork {
    /// Seconds at most.
    Little,
    Training,
    /// A campaign over the images that `networks` networks are evaluated on.
    Campaign {
        kind: CampaignKind,
        networks: usize,
    },
    Picture,
}

impl CommandStep {
    /// Whether what it makes is there, and whole.
    ///
    /// # Errors
    /// A store that is none.
    pub fn is_done(&self) -> Result<bool> {
        match &self.made {
            StepOutput::Training(folder) => Ok(is_trained(folder)),
            StepOutput::Store(store) => is_whole(store),
            StepOutput::Path(path) => Ok(path.exists()),
        }
    }

    /// Whether there is something to do it with.
    ///
    /// # Errors
    /// As [`is_done`](CommandStep::is_done).
    pub fn has_what_it_needs(&self) -> Result<bool> {
        self.needs.as_deref().map_or(Ok(true), is_whole)
    }

    /// The words of the command line.
    pub fn all_words(&self) -> Vec<OsString> {
        self.words.iter().chain(&self.beside).map(OsString::from).collect()
    }

    /// The command as a shell takes it.
    pub fn command(&self) -> String {
        let words = std::iter::once("flipside").chain(self.words.iter().map(String::as_str));
        words.map(shell_word).collect::<Vec<_>>().join(" ")
    }
}

/// Steps that one process takes in order: what several rows need, or a row from one seed.
#[derive(Clone, Debug)]
pub struct StepBlock {
    /// `None` of what several rows need.
    pub row: Option<(RowName, u64)>,
    /// The folder that is locked for it.
    pub folder: PathBuf,
    pub steps: Vec<CommandStep>,
    /// What the steps read, and isn't made by one of them.
    pub files: Vec<SmallFile>,
    /// What it can't be run for.
    pub missing: Vec<Lack>,
}

impl StepBlock {
    /// What it lacks, in a few words.
    pub fn lacks(&self) -> String {
        let lacks: Vec<&str> = self.missing.iter().map(|lack| lack.what.as_str()).collect();
        lacks.join(", ")
    }

    /// What it is called.
    pub fn name(&self) -> String {
        match &self.row {
            Some((row, seed)) => format!("{row}, seed {seed}"),
            None => "built-in data".into(),
        }
    }
}
