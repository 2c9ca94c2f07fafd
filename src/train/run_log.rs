//! What a run tells of itself on its way: its files of metrics, who listens for epochs, and the words beside the bar.

use std::time::Instant;

use super::events::EventFile;
use super::metrics::{EpochMetrics, Metrics, MetricsLine, StepMetrics};
use super::output::Output;
use crate::Result;
use crate::progress::duration;

/// Hears of every epoch that is over, as a line of JSON.
pub type EpochListener = Box<dyn FnMut(&str) + Send>;

/// See above. Made anew for each stretch of a run.
pub(super) struct RunLog {
    files: Option<(Metrics, EventFile)>,
    steps: usize,
    /// Images since the last line, and since when.
    images: u64,
    since: Instant,
    /// The same since the stretch began.
    all_images: u64,
    began: Instant,
    memory_bytes: Option<u64>,
}

impl RunLog {
    /// That of a run of which `epochs` epochs and `steps` steps are over, with files where it has a folder.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn begin(output: Option<&Output>, epochs: usize, steps: u64) -> Result<RunLog> {
        let files = match output {
            None => None,
            Some(output) => Some((
                Metrics::open(&output.metrics(), epochs, steps)?,
                EventFile::create(&output.folder, steps + 1)?,
            )),
        };
        let now = Instant::now();
        Ok(RunLog {
            files,
            steps: output.map_or(usize::MAX, |output| output.log_steps.max(1)),
            images: 0,
            since: now,
            all_images: 0,
            began: now,
            memory_bytes: None,
        })
    }

    /// Epochs that are over, but of which the file of metrics has no line.
    pub fn lost_epochs(&self) -> usize {
        self.files.as_ref().map_or(0, |(metrics, _)| metrics.lost())
    }

    /// Steps begin: what was done before them doesn't count as their time.
    pub fn begin_steps(&mut self) {
        (self.images, self.since) = (0, Instant::now());
    }

    /// A step of `images` images is over.
    pub fn count(&mut self, images: usize) {
        self.images += images as u64;
        self.all_images += images as u64;
    }

    /// Whether step `step` of `steps` of an epoch, from 1, has a line.
    pub fn is_due(&self, step: usize, steps: usize) -> bool {
        self.files.is_some() && (step.is_multiple_of(self.steps) || step == steps)
    }

    /// Adds a step's line, but for what the clock says; `memory_bytes` are in use.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn step(&mut self, line: StepMetrics) -> Result<()> {
        let rate = self.images as f64 / self.since.elapsed().as_secs_f64().max(1e-9);
        self.begin_steps();
        self.memory_bytes = line.memory_bytes;
        let Some((metrics, events)) = &mut self.files else { return Ok(()) };
        let line = StepMetrics { images_per_second: rate, ..line };
        let mut scalars = vec![
            ("train/loss", line.loss),
            ("train/top1", line.top1_percent),
            ("train/lr", line.learning_rate.into()),
            ("train/images_per_second", rate),
            ("train/skipped_steps", line.skipped_steps as f64),
        ];
        scalars.extend(line.gradient_norm.map(|norm| ("train/gradient_norm", norm)));
        scalars.extend(line.memory_bytes.map(|bytes| ("device/memory_bytes", bytes as f64)));
        events.scalars(line.step, &scalars)?;
        metrics.write(&MetricsLine::Step(line).text())
    }

    /// Adds an epoch's line, and tells `listener`.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn epoch(
        &mut self,
        line: EpochMetrics,
        listener: Option<&mut EpochListener>,
    ) -> Result<()> {
        if let Some((_, events)) = &mut self.files {
            let record = &line.record;
            let mut scalars = vec![
                ("epoch/loss", f64::from(record.loss)),
                ("epoch/top1", record.top1_percent.into()),
                ("epoch/number", record.epoch as f64),
            ];
            let loss = record.validation_loss.map(|loss| ("validation/loss", loss.into()));
            let top1 = record.validation_top1_percent.map(|top1| ("validation/top1", top1.into()));
            scalars.extend(loss.into_iter().chain(top1));
            events.scalars(line.step, &scalars)?;
        }
        let text = MetricsLine::Epoch(line).text();
        if let Some((metrics, _)) = &mut self.files {
            metrics.write(&text)?;
        }
        if let Some(listener) = listener {
            listener(&text);
        }
        Ok(())
    }

    /// Sees to it that the lines are on the disk.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn sync(&self) -> Result<()> {
        self.files.as_ref().map_or(Ok(()), |(metrics, _)| metrics.sync())
    }

    /// What is said beside the bar of an epoch: how it stands; `left` images are left of the whole run, `after` of them
    /// in later epochs.
    pub fn note(
        &self,
        (loss, top1): (f64, f64),
        skipped: u64,
        (left, after): (u64, u64),
    ) -> String {
        let mut note = format!("loss {loss:.4}, top-1 {top1:.2} %");
        if skipped > 0 {
            note.push_str(&format!(", {skipped} skipped"));
        }
        // The bar itself says what is left of the epoch. Evaluations count as time of the images trained on.
        if after > 0 && self.all_images > 0 {
            let seconds = self.began.elapsed().as_secs_f64() / self.all_images as f64;
            note.push_str(&format!(", {} to the end", duration(left as f64 * seconds)));
        }
        if let Some(bytes) = self.memory_bytes {
            note.push_str(&format!(", {:.1} GiB", bytes as f64 / f64::from(1 << 30)));
        }
        note
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_says_what_there_is_to_say() {
        let mut log = RunLog::begin(None, 0, 0).unwrap();
        assert_eq!(log.note((1.5, 25.0), 0, (80, 40)), "loss 1.5000, top-1 25.00 %");
        log.count(40);
        log.memory_bytes = Some(3 << 29);
        let note = log.note((1.5, 25.0), 2, (80, 40));
        let parts = ["loss 1.5000, top-1 25.00 %, 2 skipped, 0s to the end", "1.5 GiB"];
        assert_eq!(note, parts.join(", "));
        assert_eq!(log.note((1.5, 25.0), 0, (40, 0)), "loss 1.5000, top-1 25.00 %, 1.5 GiB");
        assert!(!log.is_due(10, 10));
    }

    #[test]
    fn every_so_many_steps_and_the_last_have_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let output = Output { log_steps: 4, ..Output::at(folder.path().into()) };
        let log = RunLog::begin(Some(&output), 0, 0).unwrap();
        let due: Vec<usize> = (1..=10).filter(|step| log.is_due(*step, 10)).collect();
        assert_eq!(due, [4, 8, 10]);
    }
}
