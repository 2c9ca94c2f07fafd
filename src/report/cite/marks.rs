//! Marks in sentences where something is cited, and what becomes of them.

use super::references::{CITED, Reference};
use crate::report::latex::latex;

/// What a mark stands between; no name of a file or model has it.
const OPEN: char = '\u{2e28}';
const CLOSE: char = '\u{2e29}';

/// The mark of a reference, which stands behind a word.
pub(super) fn mark(reference: Reference) -> String {
    format!("{OPEN}{}{CLOSE}", reference.entry().key)
}

/// Text of others, which may hold no mark.
pub(super) fn unmarked(text: &str) -> String {
    text.replace([OPEN, CLOSE], " ").replace(char::is_control, " ")
}

/// Whether a text cites a reference.
pub(super) fn cites(text: &str, reference: Reference) -> bool {
    text.contains(&mark(reference))
}

/// Sentences as plain text.
pub(super) fn plainly_cited(text: &str) -> String {
    replaced(text.into(), |reference| format!(" ({})", reference.entry().short))
}

/// Sentences as LaTeX takes them.
pub(super) fn latex_cited(text: &str) -> String {
    // Escaping leaves the marks and keys as they are.
    replaced(latex(text), |reference| format!("~\\cite{{{}}}", reference.entry().key))
}

fn replaced(mut text: String, by: impl Fn(Reference) -> String) -> String {
    for reference in CITED {
        text = text.replace(&mark(reference), &by(reference));
    }
    text
}
