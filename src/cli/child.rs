//! This program as a child process, by other words: a run once more, or a step of several.

use std::ffi::OsString;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::{Error, Result};

/// From one look at a child to the next.
pub const LOOK: Duration = Duration::from_millis(50);

/// A child, which is ended whichever way it is left.
pub struct ChildRun(Child);

impl Drop for ChildRun {
    fn drop(&mut self) {
        // It is over already, as a rule.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl ChildRun {
    /// Starts this program with `words` behind its name. What it prints is dropped; progress and errors go where this
    /// program's go.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(words: Vec<OsString>) -> Result<ChildRun> {
        let program = std::env::current_exe().map_err(|source| {
            Error::usage(format!("this program's own file isn't known: {source}"))
        })?;
        let mut command = Command::new(&program);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null());
        end_together(&mut command);
        let child = command.spawn().map_err(|source| Error::io(&program, source))?;
        Ok(ChildRun(child))
    }

    /// How it ended; `None` while it runs.
    ///
    /// # Errors
    /// What the system says.
    pub fn status(&mut self) -> Result<Option<ExitStatus>> {
        self.0.try_wait().map_err(|source| Error::usage(format!("a child process: {source}")))
    }

    /// Asks it to stop, as ctrl-C does, so that it keeps what it has, and waits until it has.
    pub fn stop(mut self) {
        #[cfg(unix)]
        if let Some(id) = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::INT);
            let _ = self.0.wait();
        }
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
