//! How long work tells how far it is: bars on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::screen::Screen;

/// Listens to long work: one task after another, each of a known number of items.
///
/// Every method may be called from any thread.
pub trait Progress: Send + Sync {
    /// A task begins: `done` of `total` items (called `unit`: images, injections) are there from
    /// an earlier run.
    fn begin(&self, task: &str, unit: &'static str, done: u64, total: u64);

    /// `items` more are done; `note` says how it stands (a loss, a rate), in a few words.
    fn advance(&self, items: u64, note: &str);

    /// The task is over.
    fn end(&self);

    /// A result to keep: one line.
    fn line(&self, text: &str);
}

/// Says nothing.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: &'static str, _: u64, _: u64) {}
    fn advance(&self, _: u64, _: &str) {}
    fn end(&self) {}
    fn line(&self, _: &str) {}
}

/// What fits the standard error stream: a [`Bar`] on a terminal, [`Lines`] elsewhere.
pub fn for_stderr() -> Box<dyn Progress> {
    if std::io::stderr().is_terminal() {
        Box::new(Bar::default())
    } else {
        Box::new(Lines::new(std::io::stderr(), Duration::from_secs(10)))
    }
}

/// A bar with the rate and the time left, redrawn in place.
#[derive(Default)]
pub struct Bar {
    bar: Mutex<Option<ProgressBar>>,
}

impl Bar {
    fn bar(&self) -> MutexGuard<'_, Option<ProgressBar>> {
        lock(&self.bar)
    }
}

impl Progress for Bar {
    fn begin(&self, task: &str, unit: &'static str, done: u64, total: u64) {
        // What is said beside the bar has some 70 characters.
        let bar =
            Screen::stderr().map_or(24, |screen| screen.width.saturating_sub(70).clamp(4, 24));
        let template =
            format!("{{prefix}} {{bar:{bar}}} {{pos}}/{{len}} {unit}{{pace}}  {{wide_msg}}",);
        // The template is this file's own; a plain bar stands in should it ever be refused.
        let style = ProgressStyle::with_template(&template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .with_key(
                "pace",
                move |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                    let all = state.len().unwrap_or_default();
                    let _ = out.write_str(&pace(done, state.pos(), all, state.elapsed()));
                },
            );
        let bar = ProgressBar::new(total).with_style(style).with_prefix(task.to_string());
        // Items of an earlier run must not count as this one's rate.
        bar.set_position(done);
        bar.reset_eta();
        if let Some(previous) = self.bar().replace(bar) {
            previous.finish_and_clear();
        }
    }

    fn advance(&self, items: u64, note: &str) {
        if let Some(bar) = &*self.bar() {
            bar.set_message(note.to_string());
            bar.inc(items);
        }
    }

    fn end(&self) {
        if let Some(bar) = self.bar().take() {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        let fitted = Screen::stderr().map_or_else(|| text.into(), |screen| screen.message(text));
        let print = || {
            let _ = writeln!(std::io::stderr(), "{fitted}");
        };
        match &*self.bar() {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

/// Plain lines, one every so often, for logs.
pub struct Lines<W> {
    state: Mutex<LinesState<W>>,
    interval: Duration,
}

struct LinesState<W> {
    out: W,
    task: Option<RunningTask>,
}

struct RunningTask {
    name: String,
    unit: &'static str,
    before: u64,
    done: u64,
    total: u64,
    started: Instant,
    printed: Instant,
}

impl<W: Write + Send> Lines<W> {
    /// Lines to `out`, at least `interval` apart within a task.
    pub fn new(out: W, interval: Duration) -> Self {
        Lines { state: Mutex::new(LinesState { out, task: None }), interval }
    }
}

impl RunningTask {
    fn describe(&self, note: &str) -> String {
        let RunningTask { name, unit, before, done, total, started, .. } = self;
        let pace = pace(*before, *done, *total, started.elapsed());
        format!("{name}: {done}/{total} {unit}{pace}  {note}")
    }
}

/// The rate since `before` items were done and what time is left by it, with a comma before each; nothing before there
/// is a rate.
fn pace(before: u64, done: u64, total: u64, elapsed: Duration) -> String {
    let rate = done.saturating_sub(before) as f64 / elapsed.as_secs_f64().max(1e-9);
    if rate <= 0.0 {
        return String::new();
    }
    let left = duration(total.saturating_sub(done) as f64 / rate);
    match rate {
        // What takes longer than a second has no rate that says something.
        ..1.0 => format!(", {left} left"),
        _ => format!(", {rate:.1}/s, {left} left"),
    }
}

impl<W: Write + Send> Progress for Lines<W> {
    fn begin(&self, task: &str, unit: &'static str, done: u64, total: u64) {
        let now = Instant::now();
        lock(&self.state).task = Some(RunningTask {
            name: task.to_string(),
            unit,
            before: done,
            done,
            total,
            started: now,
            printed: now,
        });
    }

    fn advance(&self, items: u64, note: &str) {
        let mut state = lock(&self.state);
        let LinesState { out, task: Some(task) } = &mut *state else { return };
        task.done += items;
        if task.printed.elapsed() >= self.interval {
            task.printed = Instant::now();
            // A log that can't be written is no reason to stop the work.
            let _ = writeln!(out, "{}", task.describe(note).trim_end());
        }
    }

    fn end(&self) {
        lock(&self.state).task = None;
    }

    fn line(&self, text: &str) {
        let _ = writeln!(lock(&self.state).out, "{text}");
    }
}

/// A listener that panicked elsewhere has left nothing half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Seconds as people say them: `45s`, `3m20s`, `2h05m`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        _ => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!(duration(44.6), "45s");
        assert_eq!(duration(200.0), "3m20s");
        assert_eq!(duration(7500.0), "2h05m");
    }

    #[test]
    fn no_time_is_told_before_there_is_a_rate() {
        let second = Duration::from_secs(1);
        assert_eq!(pace(50, 50, 100, second), "");
        assert_eq!(pace(50, 60, 100, second), ", 10.0/s, 4s left");
        assert_eq!(pace(0, 1, 3, Duration::from_secs(90)), ", 3m00s left");
    }

    #[test]
    fn lines_count_from_where_an_earlier_run_stood() {
        let mut log = Vec::new();
        let lines = Lines::new(&mut log, Duration::ZERO);
        lines.begin("train", "images", 50, 100);
        lines.advance(10, "loss 1.5");
        lines.end();
        lines.advance(10, "nobody asked");
        lines.line("done");
        drop(lines);
        let text = String::from_utf8(log).unwrap();
        assert!(text.starts_with("train: 60/100 images, "), "{text}");
        assert!(text.contains("loss 1.5\ndone\n"), "{text}");
        assert_eq!(text.lines().count(), 2);
    }
}
