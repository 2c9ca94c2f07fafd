//! What a run comes to, step by step and epoch by epoch: a JSON object a line.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::summary::EpochRecord;
use crate::checkpoint::atomic::unwritable;
use crate::{Error, Result};

/// A line. Fields that depend on the clock or the machine's state, and no others: `images_per_second`, `seconds`,
/// `memory_bytes`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum MetricsLine {
    Step(StepMetrics),
    Epoch(EpochMetrics),
}

/// A step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct StepMetrics {
    /// From 1.
    pub epoch: usize,
    /// Of the run, from 1.
    pub step: u64,
    /// Mean over the step's images; `null` where it isn't finite.
    pub loss: f64,
    /// Of the step's images, as they were augmented.
    pub top1_percent: f64,
    pub learning_rate: f32,
    /// Before clipping; only where the recipe clips to one, or with faults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_norm: Option<f64>,
    /// Since the run began.
    pub skipped_steps: u64,
    /// Since the line before, or since the epoch began.
    pub images_per_second: f64,
    /// In use on a GPU, by whomever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// An epoch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct EpochMetrics {
    /// Counts epochs from 1 here.
    #[serde(flatten)]
    pub record: EpochRecord,
    /// Its last, of the run, from 1.
    pub step: u64,
    /// Whether no epoch before was better or as good.
    pub best: bool,
    /// With its evaluation; where the run was interrupted in it, of its last part.
    pub seconds: f64,
}

impl MetricsLine {
    /// As text, without an end of line.
    pub fn text(&self) -> String {
        // Numbers and text alone: there is nothing in it that JSON can't say.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What tells whether a line that is there stands.
#[derive(Deserialize)]
struct LinePlace {
    kind: String,
    epoch: usize,
    step: u64,
}

/// The file.
pub(super) struct Metrics {
    path: PathBuf,
    file: File,
    lost: usize,
}

impl Metrics {
    /// The file of a run of which `epochs` epochs and `steps` steps are over: lines of what comes after, and a line that
    /// was cut off, are cut out.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn open(path: &Path, epochs: usize, steps: u64) -> Result<Metrics> {
        let failed = |source| unwritable(path, source);
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).read(true).write(true).open(path);
        let mut file = file.map_err(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let kept = standing(&bytes, epochs, steps);
        if kept < bytes.len() {
            file.set_len(kept as u64).map_err(failed)?;
        }
        file.seek(SeekFrom::Start(kept as u64)).map_err(failed)?;
        let lost = epochs.saturating_sub(epochs_in(&bytes[..kept]));
        Ok(Metrics { path: path.into(), file, lost })
    }

    /// Epochs that are over, but whose lines aren't there.
    pub fn lost(&self) -> usize {
        self.lost
    }

    /// Adds a line.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn write(&mut self, line: &str) -> Result<()> {
        let failed = |source| -> Error { unwritable(&self.path, source) };
        self.file.write_all(format!("{line}\n").as_bytes()).map_err(failed)
    }

    /// Sees to it that what was added is on the disk: before a snapshot says that it is done.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|source| unwritable(&self.path, source))
    }
}

/// How many epochs have a line.
fn epochs_in(bytes: &[u8]) -> usize {
    let places = bytes.split(|byte| *byte == b'\n').map(serde_json::from_slice::<LinePlace>);
    places.flatten().filter(|place| place.kind == "epoch").count()
}

/// How many bytes hold whole lines of what is over.
fn standing(bytes: &[u8], epochs: usize, steps: u64) -> usize {
    let stands = |line: &[u8]| {
        let place: Option<LinePlace> = match line.last() {
            Some(b'\n') => serde_json::from_slice(line).ok(),
            _ => None,
        };
        place.is_some_and(|place| match place.kind.as_str() {
            "epoch" => place.epoch <= epochs,
            _ => place.step <= steps,
        })
    };
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.take_while(|line| stands(line)).map(<[u8]>::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u64) -> String {
        let line = MetricsLine::Step(StepMetrics {
            epoch: step.div_ceil(2) as usize,
            step,
            loss: 0.5,
            top1_percent: 12.5,
            learning_rate: 0.1,
            gradient_norm: None,
            skipped_steps: 0,
            images_per_second: 8.25,
            memory_bytes: None,
        });
        line.text()
    }

    fn epoch(epoch: usize) -> String {
        let record = EpochRecord {
            epoch,
            learning_rate: 0.1,
            loss: 0.5,
            top1_percent: 12.5,
            validation_loss: None,
            validation_top1_percent: Some(0.1),
            output_flips: None,
            weight_flips: None,
            skipped_steps: None,
        };
        let (step, best) = (2 * epoch as u64, true);
        let line = EpochMetrics { record, step, best, seconds: 1.5 };
        MetricsLine::Epoch(line).text()
    }

    #[test]
    fn lines_say_what_they_are() {
        let expected = r#"{"kind":"step","epoch":2,"step":3,"loss":0.5,"top1_percent":12.5,"learning_rate":0.1,"skipped_steps":0,"images_per_second":8.25}"#;
        assert_eq!(step(3), expected);
        let expected = r#"{"kind":"epoch","epoch":2,"learning_rate":0.1,"loss":0.5,"top1_percent":12.5,"validation_loss":null,"validation_top1_percent":0.1,"step":4,"best":true,"seconds":1.5}"#;
        assert_eq!(epoch(2), expected);
    }

    /// Two steps an epoch.
    #[test]
    fn what_is_done_again_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let lines = [step(1), step(2), epoch(1), step(3), step(4), epoch(2), step(5)];
        let whole = lines.join("\n");
        for (epochs, steps, kept) in [
            (0, 0, 0),
            (0, 1, 1),
            // All steps of an epoch are over, but not the epoch.
            (0, 2, 2),
            (1, 2, 3),
            (1, 3, 4),
            (2, 4, 6),
            // The last line has no end.
            (2, 5, 6),
        ] {
            std::fs::write(&path, &whole).unwrap();
            let mut metrics = Metrics::open(&path, epochs, steps).unwrap();
            metrics.write("{}").unwrap();
            metrics.sync().unwrap();
            let mut expected: Vec<&str> = lines[..kept].iter().map(String::as_str).collect();
            expected.push("{}\n");
            let found = std::fs::read_to_string(&path).unwrap();
            assert_eq!(found, expected.join("\n"), "{epochs} {steps}");
        }
        // What isn't this program's doesn't stand either.
        std::fs::write(&path, format!("{}\nwhat\n{}\n", step(1), step(2))).unwrap();
        Metrics::open(&path, 5, 10).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", step(1)));
    }
}
