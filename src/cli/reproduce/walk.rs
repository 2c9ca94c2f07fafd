//! Taking the steps that aren't done, one block after the other.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::NO_IMAGE;
use super::super::child::{ChildRun, LOOK};
use super::super::common::create_folder;
use super::small::SmallFile;
use super::step::{CommandStep, StepBlock, StepOutput};
use crate::progress::Progress;
use crate::train::Output;
use crate::{Error, Result};

/// What came of the blocks.
#[derive(Debug, Default)]
pub struct Walked {
    /// Blocks that another process works on.
    pub elsewhere: Vec<String>,
    /// Steps that failed, each with its block.
    pub failed: Vec<String>,
}

/// Takes every step that isn't done of blocks that lack nothing.
///
/// # Errors
/// Where the user stops it, and what the disk says.
pub fn walk(
    blocks: &[StepBlock],
    stop: &AtomicBool,
    progress: &dyn Progress,
) -> anyhow::Result<Walked> {
    let steps: usize = blocks.iter().map(|block| block.steps.len()).sum();
    let (mut walked, mut elsewhere, mut before) = (Walked::default(), Vec::new(), 0);
    for block in blocks {
        let first = before + 1;
        before += block.steps.len();
        // What can't be read is told below, or by whoever reads it.
        if !block.missing.is_empty() || matches!(are_done(block), Ok(true)) {
            continue;
        }
        create_folder(&block.folder)?;
        // What several rows need is waited for.
        let Some(_taken) = take(&block.folder, block.row.is_none(), stop)? else {
            anyhow::ensure!(!stop.load(Ordering::Relaxed), "stopped");
            progress.line(&format!("{}: another process works on it", block.name()));
            elsewhere.push(block);
            continue;
        };
        block.files.iter().try_for_each(SmallFile::write)?;
        for (number, step) in (first..).zip(&block.steps) {
            let said = |reason: &str| format!("{}: {}{reason}", block.name(), step.name);
            match step.is_done().and_then(|is_done| Ok(is_done || !step.has_what_it_needs()?)) {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    walked.failed.push(said(&format!(": {error}; what is deleted is made again")));
                    break;
                }
            }
            progress.line(&format!("step {number} of {steps}: {}: {}", block.name(), step.name));
            match take_step(step, stop)? {
                StepEnd::Done => {}
                StepEnd::NoImage => progress.line(&said(": there is nothing to do")),
                StepEnd::Failed(reason) => {
                    walked.failed.push(said(&format!(": {reason}")));
                    break;
                }
            }
        }
    }
    // They may be over by now.
    let left = elsewhere.into_iter().filter(|block| !matches!(are_done(block), Ok(true)));
    walked.elsewhere = left.map(StepBlock::name).collect();
    Ok(walked)
}

fn are_done(block: &StepBlock) -> Result<bool> {
    for step in &block.steps {
        if !step.is_done()? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Takes the folder of a block for this process, until what is returned is dropped; `None` where another has it.
fn take(folder: &Path, waits: bool, stop: &AtomicBool) -> Result<Option<File>> {
    let path = folder.join(".lock");
    let failed = |source| Error::io(&path, source);
    let mut open = OpenOptions::new();
    let file =
        open.read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if waits && !stop.load(Ordering::Relaxed) => {
                std::thread::sleep(LOOK);
            }
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
}

/// Deletes the snapshot and the best epoch of a training run that is over, where a step says so: thrice the model's size.
fn prune(step: &CommandStep) -> Result<()> {
    let StepOutput::Training(folder) = &step.made else { return Ok(()) };
    let run = Output::at(folder.clone());
    for file in [run.snapshot(), run.best()].into_iter().filter(|file| step.prunes && file.exists())
    {
        std::fs::remove_file(&file).map_err(|source| Error::io(&file, source))?;
    }
    Ok(())
}

/// What came of a step.
enum StepEnd {
    Done,
    /// The networks get no image right together, so that there is nothing to inject into.
    NoImage,
    /// Why, in words.
    Failed(String),
}

fn take_step(step: &CommandStep, stop: &AtomicBool) -> anyhow::Result<StepEnd> {
    let mut child = ChildRun::start(step.all_words())?;
    let status = loop {
        if let Some(status) = child.status()? {
            break status;
        }
        if stop.load(Ordering::Relaxed) {
            child.stop();
            anyhow::bail!("stopped; what is done is kept, and the same command goes on from there");
        }
        std::thread::sleep(LOOK);
    };
    Ok(match status.code() {
        Some(0) if step.is_done()? => {
            prune(step)?;
            StepEnd::Done
        }
        Some(0) => StepEnd::Failed(match &step.made {
            StepOutput::Training(path) | StepOutput::Store(path) | StepOutput::Path(path) => {
                format!("it ended, and {} isn't whole", path.display())
            }
        }),
        Some(code) if code == i32::from(NO_IMAGE) => StepEnd::NoImage,
        Some(_) => StepEnd::Failed("it failed; the reason stands above".into()),
        None => StepEnd::Failed(format!("it was ended from outside ({status})")),
    })
}
