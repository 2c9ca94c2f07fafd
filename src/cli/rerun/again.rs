//! This program, run once more by other words.

use std::ffi::OsString;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::{Error, Result};

/// From one look at the second run to the next.
const LOOK: Duration = Duration::from_millis(50);

/// What is known of the second run's setting.
pub enum SettingCheck {
    /// Nothing yet.
    Unknown,
    Equal,
    /// What differs, in words.
    Different(String),
}

/// Ends the run whichever way it is left.
struct SecondRun(Child);

impl Drop for SecondRun {
    fn drop(&mut self) {
        // It is over already, as a rule.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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
    let program = std::env::current_exe()
        .map_err(|source| Error::usage(format!("this program's own file isn't known: {source}")))?;
    let mut command = Command::new(&program);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null());
    end_together(&mut command);
    let child = command.spawn().map_err(|source| Error::io(&program, source))?;
    let mut second = SecondRun(child);
    let mut is_known = false;
    let status = loop {
        if let Some(status) = wait(&mut second.0)? {
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

/// Has ctrl-C reach this program alone, which ends the other, and the other end when this one is killed.
fn end_together(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(target_os = "linux")]
    // SAFETY: between fork and exec one system call is made, and nothing else.
    unsafe {
        use rustix::process::{Signal, set_parent_process_death_signal};
        use std::os::unix::process::CommandExt;
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
}

fn wait(child: &mut Child) -> Result<Option<std::process::ExitStatus>> {
    child.try_wait().map_err(|source| Error::usage(format!("the second run: {source}")))
}
