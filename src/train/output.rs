//! The folder of a run: what lies where, who may write to it, and what is deleted again.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Names of the files of [`Output::resumable`] and [`Output::summary`] that older versions wrote.
const OLD_SNAPSHOT: &str = "snapshot.safetensors";
const OLD_SUMMARY: &str = "history.csv";

/// What a run writes.
#[derive(Clone, Debug)]
pub struct Output {
    /// The folder of all the files.
    pub folder: PathBuf,
    /// Steps between snapshots within an epoch; there is one at the end of each epoch anyway.
    pub snapshot_steps: Option<usize>,
    /// Steps between lines of [`Output::metrics`]; an epoch's last step has one anyway.
    pub log_steps: usize,
    /// How many of the last epochs' models are kept, each as [`Output::epoch`].
    pub keep: usize,
}

impl Output {
    /// That of a folder, with snapshots at the ends of epochs and a line of metrics each ten steps.
    pub fn at(folder: PathBuf) -> Output {
        Output { folder, snapshot_steps: None, log_steps: 10, keep: 0 }
    }

    /// What a stopped or killed run is resumed from.
    pub fn snapshot(&self) -> PathBuf {
        self.folder.join("last.safetensors")
    }

    /// The snapshot that is there, under the name that older versions gave it if need be.
    pub fn resumable(&self) -> Option<PathBuf> {
        [self.snapshot(), self.folder.join(OLD_SNAPSHOT)].into_iter().find(|path| path.exists())
    }

    /// The trained model, at the end of the run.
    pub fn model(&self) -> PathBuf {
        self.folder.join("model.safetensors")
    }

    /// The model of the epoch of the highest top-1 on the validation images, the first of equals.
    pub fn best(&self) -> PathBuf {
        self.folder.join("best.safetensors")
    }

    /// The model of an epoch, from 0, in a file that counts from 1.
    pub fn epoch(&self, epoch: usize) -> PathBuf {
        self.folder.join(format!("epoch-{:04}.safetensors", epoch + 1))
    }

    /// The epochs as a table: a line of CSV each.
    pub fn summary(&self) -> PathBuf {
        self.folder.join("summary.csv")
    }

    /// Steps and epochs: a JSON object a line.
    pub fn metrics(&self) -> PathBuf {
        self.folder.join("metrics.jsonl")
    }

    /// Makes the folder, and keeps other processes from writing to it while what is returned lives.
    ///
    /// # Errors
    /// [`Error::Usage`] where another process trains there; those of the disk.
    pub fn lock(&self) -> Result<RunLock> {
        fs::create_dir_all(&self.folder).map_err(|source| Error::io(&self.folder, source))?;
        let path = self.folder.join(".lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|source| Error::io(&path, source))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::usage(format!(
                    "{}: another process trains there: wait for it, stop it, or name another folder",
                    self.folder.display()
                )));
            }
            // A file system without locks is no reason not to train.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(source)) => return Err(Error::io(&path, source)),
        }
        self.sweep()?;
        Ok(RunLock(file))
    }

    /// Deletes what a killed process had begun to write: nobody else writes here now.
    fn sweep(&self) -> Result<()> {
        let failed = |source| Error::io(&self.folder, source);
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_of_run = ["safetensors", "csv", "toml"];
            let is_of_run = is_of_run.iter().any(|end| name.contains(&format!(".{end}.")));
            if name.starts_with('.') && name.ends_with(".tmp") && is_of_run {
                fs::remove_file(&path).map_err(|source| Error::io(&path, source))?;
            }
        }
        Ok(())
    }

    /// Deletes the models of epochs that [`Output::keep`] leaves out, when `done` epochs are over.
    pub(super) fn prune(&self, done: usize) -> Result<()> {
        if self.keep == 0 {
            return Ok(());
        }
        let failed = |source| Error::io(&self.folder, source);
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if epoch_of(&path).is_some_and(|epoch| epoch + self.keep <= done) {
                fs::remove_file(&path).map_err(|source| Error::io(&path, source))?;
            }
        }
        Ok(())
    }

    /// Gives the files of a run that an older version began their present names; `kept_best` says that it kept the best
    /// epoch as its model. The snapshot comes last: whatever is done before is found done.
    pub(super) fn adopt(&self, kept_best: bool) -> Result<()> {
        let renamed = [
            (kept_best, self.model(), self.best()),
            (true, self.folder.join(OLD_SUMMARY), self.summary()),
            (true, self.folder.join(OLD_SNAPSHOT), self.snapshot()),
        ];
        for (is_asked, from, to) in renamed {
            if is_asked && from.exists() && !to.exists() {
                fs::rename(&from, &to).map_err(|source| Error::io(&from, source))?;
            }
        }
        Ok(())
    }
}

/// The number, from 1, of the epoch whose model [`Output::epoch`] names so.
fn epoch_of(path: &Path) -> Option<usize> {
    let name = path.file_name()?.to_str()?;
    let digits = name.strip_prefix("epoch-")?.strip_suffix(".safetensors")?;
    let is_number = digits.len() >= 4 && digits.bytes().all(|digit| digit.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
}

/// A folder that no other process trains in. The file is left behind: it is the lock on it that counts, which ends with
/// the process.
#[derive(Debug)]
pub struct RunLock(#[expect(dead_code, reason = "it is there to be dropped")] File);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_epochs_are_kept_and_no_other_file_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let output = Output { keep: 2, ..Output::at(folder.path().into()) };
        let others = ["epoch-1.safetensors", "epoch-00x1.safetensors", "epoch-0001.pth", "a"];
        let others = others.map(|name| folder.path().join(name));
        others.iter().for_each(|path| fs::write(path, "").unwrap());
        (0..5).for_each(|epoch| fs::write(output.epoch(epoch), "").unwrap());
        output.prune(5).unwrap();
        let there: Vec<usize> = (0..5).filter(|epoch| output.epoch(*epoch).exists()).collect();
        assert_eq!(there, [3, 4]);
        assert!(others.iter().all(|path| path.exists()));
        Output::at(folder.path().into()).prune(9).unwrap();
        assert!(output.epoch(3).exists());
        assert_eq!(epoch_of(&output.epoch(12344)), Some(12345));
    }

    #[test]
    fn a_folder_is_one_run_s_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::at(folder.path().join("run"));
        let lock = output.lock().unwrap();
        let said = output.lock().unwrap_err().to_string();
        assert!(said.contains("run: another process trains there"), "{said}");
        drop(lock);
        // What was being written when a process was killed, and a file of somebody else's.
        let left = [".last.safetensors.12-3.tmp", ".mine.tmp"].map(|name| output.folder.join(name));
        left.iter().for_each(|path| fs::write(path, "").unwrap());
        output.lock().unwrap();
        assert_eq!(left.map(|path| path.exists()), [false, true]);
    }
}
