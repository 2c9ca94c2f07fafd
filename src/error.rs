//! The one error type of the library.

use std::path::{Path, PathBuf};

/// What can go wrong in the library. Every variant names the thing it is about; the text is one
/// sentence that a user can act on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused a read or a write.
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    /// A file was read but isn't what it should be (truncated, corrupt, wrong type, hostile).
    #[error("{path}: {detail}")]
    File { path: PathBuf, detail: String },
    /// Shapes that don't fit together; `what` names the operation, key or file.
    #[error("{what}: {detail}")]
    Shape { what: String, detail: String },
    /// Something that the user named doesn't exist or can't be combined (exit code 2).
    #[error("{detail}")]
    Usage { detail: String },
    /// No image is left that faults could hit, since networks get none right (exit code 4).
    #[error("no image is classified correctly, so that there is none to inject into")]
    NoImage,
    /// A device isn't there or failed.
    #[error("device {device}: {detail}")]
    Device { device: String, detail: String },
    /// A kernel launch was refused or failed.
    #[error("kernel {kernel}: {detail}")]
    Kernel { kernel: String, detail: String },
    /// An operation has no implementation on a device.
    #[error("{op} has no implementation for device {device}")]
    Unsupported { op: String, device: String },
    /// A figure of a training run (`loss`, `gradient norm`) left the finite numbers; epoch and step
    /// count from 1.
    #[error(
        "training diverged: the {figure} is {value} in epoch {epoch}, step {step}; a lower learning \
         rate or a longer warm-up may help"
    )]
    Diverged { epoch: usize, step: usize, figure: &'static str, value: f64 },
    /// A training step that was taken twice from the same state came to other bits; `tensor` is the first that
    /// differs, with both values; epoch and step count from 1.
    #[error(
        "training doesn't repeat: in epoch {epoch}, step {step} was taken twice from the same weights and came to two \
         values of {tensor}; the device or its memory errs, or isn't deterministic; the last snapshot is from before it"
    )]
    Unrepeatable { epoch: usize, step: usize, tensor: String },
    /// A training run with faults came to nothing finite for too many steps on end; epoch and step count from 1.
    #[error(
        "training with faults: the last {steps} steps, up to epoch {epoch}, step {step}, were skipped, since their loss, \
         gradients or running statistics weren't finite; a lower rate may help, or fewer bits (bits=0..29+31 leaves \
         out the highest of the exponent)"
    )]
    Skipping { epoch: usize, step: usize, steps: u64 },
}

/// `Result` with the library's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An [`Error::Io`] of `path`.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Error::Io { path: path.into(), source }
    }

    /// An [`Error::File`] of `path`.
    pub fn file(path: impl Into<PathBuf>, detail: impl Into<String>) -> Self {
        Error::File { path: path.into(), detail: detail.into() }
    }

    /// An [`Error::File`] about TOML that can't be read as `text` has it. The crate's own sentences quote the text, which
    /// may be all of the file.
    pub(crate) fn toml(path: &Path, what: &str, text: &str, error: &toml::de::Error) -> Self {
        let line = error.span().map_or_else(String::new, |span| {
            let lines = text.get(..span.start).map_or(0, |before| before.matches('\n').count());
            format!("line {}: ", lines + 1)
        });
        Error::file(path, format!("{what}: {line}{}", shorten(error.message(), 400)))
    }

    /// An [`Error::Shape`] of `what`.
    pub fn shape(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Error::Shape { what: what.into(), detail: detail.into() }
    }

    /// An [`Error::Usage`] about a word that is none of `T`'s; `what` says what they are words of.
    pub(crate) fn unknown<T>(what: &str, word: &str) -> Self
    where
        T: strum::IntoEnumIterator + Into<&'static str>,
    {
        let known: Vec<&str> = T::iter().map(Into::into).collect();
        Error::usage(format!("unknown {what} '{word}'; known: {}", known.join(", ")))
    }

    /// An [`Error::Usage`].
    pub fn usage(detail: impl Into<String>) -> Self {
        Error::Usage { detail: detail.into() }
    }
}

/// How many of a list of names a sentence has room for.
pub(crate) const MOST_NAMED: usize = 8;

/// Names in a sentence, the first `most` of them; `none` without any.
pub(crate) fn some_of<S: AsRef<str>>(names: &[S], most: usize) -> String {
    let shown: Vec<&str> = names.iter().take(most).map(AsRef::as_ref).collect();
    match names.len() - shown.len() {
        0 if shown.is_empty() => "none".into(),
        0 => shown.join(", "),
        rest => format!("{} and {rest} more", shown.join(", ")),
    }
}

/// The first `most` characters of `text` from outside, made fit for an error: one line, without
/// control characters.
pub(crate) fn shorten(text: &str, most: usize) -> String {
    let mut shown = String::new();
    for c in text.chars().take(most) {
        match c {
            '\'' | '"' => shown.push(c),
            c => shown.extend(c.escape_debug()),
        }
    }
    if text.chars().nth(most).is_some() {
        shown.push_str("...");
    }
    shown
}
