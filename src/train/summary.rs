//! The epochs of a run as a table, and which of them is the best.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::checkpoint::atomic;
use crate::{Error, Result};

/// What an epoch came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochRecord {
    /// From 0.
    pub epoch: usize,
    /// Of the epoch's last step.
    pub learning_rate: f32,
    /// Mean over the epoch's images, each at the weights of its step; smoothed if the recipe says.
    pub loss: f32,
    /// On augmented images, each at the weights of its step.
    pub top1_percent: f32,
    /// Of the average of the weights, if the recipe takes one, as the next.
    pub validation_loss: Option<f32>,
    pub validation_top1_percent: Option<f32>,
    /// Bits that flipped in what layers stored; of a run with faults, as the next two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_flips: Option<u64>,
    /// Bits that flipped in parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_flips: Option<u64>,
    /// Steps without an update, since their loss, gradients or running statistics weren't finite; they don't count in
    /// loss and top-1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped_steps: Option<u64>,
}

impl EpochRecord {
    /// The record as one line; `epochs` is the recipe's number of them.
    pub fn describe(&self, epochs: usize) -> String {
        let EpochRecord { epoch, learning_rate, loss, top1_percent, .. } = self;
        let mut line = format!(
            "epoch {}/{epochs}: loss {loss:.4}, top-1 {top1_percent:.2} %, learning rate \
             {learning_rate:.3e}",
            epoch + 1
        );
        if let (Some(loss), Some(top1)) = (self.validation_loss, self.validation_top1_percent) {
            line.push_str(&format!("; validation: loss {loss:.4}, top-1 {top1:.2} %"));
        }
        let flips = [("layers' values", self.output_flips), ("weights", self.weight_flips)];
        for (of, flips) in flips.into_iter().filter_map(|(of, flips)| Some((of, flips?))) {
            line.push_str(&format!("; {flips} bits flipped in {of}"));
        }
        if let Some(skipped) = self.skipped_steps.filter(|skipped| *skipped > 0) {
            line.push_str(&format!("; {skipped} steps skipped"));
        }
        line
    }
}

/// The columns. What a run measures again stands before the last: equal, however often it was interrupted.
const COLUMNS: [&str; 8] = [
    "epoch",
    "learning_rate",
    "loss",
    "train_top1_percent",
    "validation_loss",
    "validation_top1_percent",
    "best",
    "seconds",
];

/// How many columns belong to an epoch alone: not which one is the best, nor how long it took.
pub(super) const OF_EPOCH: usize = 6;

/// The epoch of the highest top-1 on the validation images, the first of equals; from 0.
pub(super) fn best_epoch(history: &[EpochRecord]) -> Option<usize> {
    let top1 = |record: &EpochRecord| Some((record.epoch, record.validation_top1_percent?));
    let better = |best: (usize, f32), next: (usize, f32)| if next.1 > best.1 { next } else { best };
    history.iter().filter_map(top1).reduce(better).map(|(epoch, _)| epoch)
}

/// An epoch's cells before the last two.
fn cells(record: &EpochRecord) -> [String; OF_EPOCH] {
    let known = |value: Option<f32>| value.map_or_else(String::new, |value| value.to_string());
    [
        (record.epoch + 1).to_string(),
        record.learning_rate.to_string(),
        record.loss.to_string(),
        record.top1_percent.to_string(),
        known(record.validation_loss),
        known(record.validation_top1_percent),
    ]
}

/// Writes the table, whole or not at all; `best` is the best epoch, from 0, `seconds` says how long each epoch took, as
/// far as it is known.
pub(super) fn write(
    path: &Path,
    history: &[EpochRecord],
    best: Option<usize>,
    seconds: &[Option<f64>],
) -> Result<()> {
    let mut table = csv::Writer::from_writer(Vec::new());
    let failed = |error: csv::Error| Error::file(path, format!("can't be written: {error}"));
    table.write_record(COLUMNS).map_err(failed)?;
    for (place, record) in history.iter().enumerate() {
        let is_best = if best == Some(record.epoch) { "yes" } else { "" };
        let took = seconds.get(place).copied().flatten();
        let took = took.map_or_else(String::new, |seconds| format!("{seconds:.2}"));
        let row = cells(record).into_iter().chain([is_best.to_string(), took]);
        table.write_record(row).map_err(failed)?;
    }
    let bytes = table.into_inner().map_err(|error| failed(error.into_error().into()))?;
    atomic::write(path, |out| out.write_all(&bytes))
}

/// How long the epochs of `history` took, as the table at `path` has it; unknown where it isn't this run's.
pub(super) fn seconds(path: &Path, history: &[EpochRecord]) -> Vec<Option<f64>> {
    let rows: Vec<csv::StringRecord> = csv::Reader::from_path(path)
        .map(|table| table.into_records().map_while(std::result::Result::ok).collect())
        .unwrap_or_default();
    let took = |(record, row): (&EpochRecord, Option<&csv::StringRecord>)| {
        let row = row?;
        let is_this = row.iter().take(OF_EPOCH).eq(cells(record).iter());
        if is_this { row.get(COLUMNS.len() - 1)?.parse().ok() } else { None }
    };
    let rows = rows.iter().map(Some).chain(std::iter::repeat(None));
    history.iter().zip(rows).map(took).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(epoch: usize, top1: Option<f32>) -> EpochRecord {
        EpochRecord {
            epoch,
            learning_rate: 0.1,
            loss: 1.0 / (epoch as f32 + 3.0),
            top1_percent: 50.0,
            validation_loss: top1.map(|_| 0.7),
            validation_top1_percent: top1,
            output_flips: None,
            weight_flips: None,
            skipped_steps: None,
        }
    }

    /// What a run without faults writes is what it was; with faults it says what flipped.
    #[test]
    fn flips_are_told_where_there_are_faults() {
        let plain = record(1, Some(40.0));
        let text = serde_json::to_string(&plain).unwrap();
        assert!(!text.contains("flips") && !text.contains("skipped"), "{text}");
        assert_eq!(serde_json::from_str::<EpochRecord>(&text).unwrap(), plain);
        let faulty = EpochRecord {
            output_flips: Some(0),
            weight_flips: Some(1200),
            skipped_steps: Some(3),
            ..plain
        };
        let text = serde_json::to_string(&faulty).unwrap();
        assert_eq!(serde_json::from_str::<EpochRecord>(&text).unwrap(), faulty);
        let said = faulty.describe(2);
        assert!(
            said.ends_with(
                "; 0 bits flipped in layers' values; 1200 bits flipped in weights; 3 steps skipped"
            ),
            "{said}"
        );
    }

    #[test]
    fn the_first_of_the_best_epochs_is_the_best() {
        let history = [40.0, 62.5, 62.5, 50.0].map(Some);
        let history: Vec<EpochRecord> =
            (0..).zip(history).map(|(e, top1)| record(e, top1)).collect();
        assert_eq!(best_epoch(&history), Some(1));
        assert_eq!(best_epoch(&history[..1]), Some(0));
        assert_eq!(best_epoch(&[]), None);
        assert_eq!(best_epoch(&[record(0, None)]), None);
    }

    #[test]
    fn seconds_come_back_from_the_table_of_the_same_epochs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.csv");
        let mut history = vec![record(0, Some(40.0)), record(1, Some(62.5)), record(2, Some(50.0))];
        assert_eq!(seconds(&path, &history), [None; 3]);
        write(&path, &history, Some(1), &[Some(1.234), None, Some(2.5)]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], COLUMNS.join(","));
        assert_eq!(lines[2], "2,0.1,0.25,50,0.7,62.5,yes,");
        assert_eq!(lines[3], "3,0.1,0.2,50,0.7,50,,2.50");
        assert_eq!(seconds(&path, &history), [Some(1.23), None, Some(2.5)]);
        assert_eq!(seconds(&path, &history[..1]), [Some(1.23)]);
        history[2].loss = 0.5;
        assert_eq!(seconds(&path, &history), [Some(1.23), None, None]);
        std::fs::write(&path, "no,table\n\"").unwrap();
        assert_eq!(seconds(&path, &history), [None; 3]);
    }
}
