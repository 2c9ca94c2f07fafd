//! `commit!()`: the commit that flipside was checked out at when the file with the macro was compiled.
//!
//! A macro and not a variable of build.rs, since a new commit then compiles only the crate that names it,
//! which is the binary, and not the library.

use std::path::{Path, PathBuf};
use std::process::Command;

use proc_macro::TokenStream;

/// What git says about this checkout; nothing without git or a repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_string())
}

/// Where git keeps one of its files.
fn path(name: &str) -> Option<PathBuf> {
    let path = git(&["rev-parse", "--path-format=absolute", "--git-path", name])?;
    Path::new(&path).is_file().then(|| path.into())
}

/// The commit, and the files of which one changes whenever it does.
fn checked_out() -> Option<(String, [PathBuf; 2])> {
    // Source code without a repository may lie in somebody else's.
    git(&["ls-files", "--error-unmatch", "lib.rs"])?;
    let commit = git(&["rev-parse", "HEAD"])?;
    let head = path("HEAD")?;
    // Git writes every commit and checkout there, unless it is told to keep no logs.
    let moves = path("logs/HEAD").or_else(|| path("reftable/tables.list"));
    // Of a checkout without a branch, HEAD itself is the commit.
    let moves =
        moves.or_else(|| git(&["symbolic-ref", "-q", "HEAD"]).is_none().then(|| head.clone()));
    Some((commit, [head, moves?]))
}

/// The commit as text: that of the variable `FLIPSIDE_COMMIT` where it is set, and `unknown` where there is no
/// repository or no file that would tell of the next commit.
#[proc_macro]
pub fn commit(_: TokenStream) -> TokenStream {
    let (commit, watched) = match checked_out() {
        Some((commit, watched)) => (commit, watched.to_vec()),
        None => ("unknown".into(), Vec::new()),
    };
    // The compiler notes the files and the variable for cargo; of the files nothing is kept.
    let watched: String = watched
        .iter()
        .map(|path| format!("const _: &[u8] = ::core::include_bytes!({path:?});"))
        .collect();
    let text = format!(
        "{{ {watched} match ::core::option_env!(\"FLIPSIDE_COMMIT\") {{ \
         ::core::option::Option::Some(commit) => commit, \
         ::core::option::Option::None => {commit:?} }} }}"
    );
    text.parse().expect("Rust's tokens")
}
