//! The commit that a program was built from, which what it records names.

use std::sync::OnceLock;

/// The commit that is checked out where a program is compiled, as text; `FLIPSIDE_COMMIT` overrules it.
pub use flipside_commit::commit as checked_out;

static COMMIT: OnceLock<&'static str> = OnceLock::new();

/// Called by a program's `main`, before anything is recorded: `commit::set(commit::checked_out!())`. The library doesn't
/// ask for it by itself, since every commit would then compile it again.
pub fn set(commit: &'static str) {
    COMMIT.get_or_init(|| commit);
}

/// What was set; `unknown` in a program that has set nothing.
pub fn get() -> &'static str {
    COMMIT.get().copied().unwrap_or("unknown")
}
