//! A run, once more.

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::child::{ChildRun, LOOK};

/// What is known of the second run's setting.
pub enum SettingCheck {
    /// Nothing yet.
    Unknown,
    Equal,
    /// What differs, in words.
    Different(String),
}

/// Runs `words` to the end, less what it prints; progress and errors go where this program's go. As soon as `setting` says
/// that it is another run than the first, it is ended, and the difference is what comes of it.
///
/// # Errors
/// A run that fails or is stopped.
pub fn run(
    words: Vec<OsString>,
    stop: &AtomicBool,
    setting: impl Fn() -> SettingCheck,
) -> anyhow::Result<Option<String>> {
    let mut second = ChildRun::start(words)?;
    let mut is_known = false;
    let status = loop {
        if let Some(status) = second.status()? {
            break status;
        }
        anyhow::ensure!(!stop.load(Ordering::Relaxed), "stopped; nothing was compared");
        if !is_known {
            match setting() {
                SettingCheck::Unknown => {}
                SettingCheck::Equal => is_known = true,
                SettingCheck::Different(difference) => return Ok(Some(difference)),
            }
        }
        std::thread::sleep(LOOK);
    };
    match status.code() {
        Some(0) => Ok(None),
        Some(_) => anyhow::bail!("it can't be run again: the reason stands above"),
        None => anyhow::bail!("what was run again was ended from outside ({status})"),
    }
}
