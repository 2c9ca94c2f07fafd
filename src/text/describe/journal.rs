//! The file of answers: append-only JSON Lines, of which a second run keeps every line.
//!
//! A line is written by one call and synced before its question counts as answered. A crash can
//! leave no more than a part of the last line, or zeros that a file system put there: what doesn't
//! end in a line feed is cut off by the next run, if it is the beginning of such a line at all.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Map, Value};

use super::Settings;
use crate::error::shorten;
use crate::text::lines;
use crate::text::questions::Question;
use crate::{Error, Result};

/// What every line that this program writes starts with.
const START: &[u8] = br#"{"class":"#;

/// How long another run may take to let go of the file.
const PATIENCE: Duration = Duration::from_secs(1);

/// A line: the question, its answer, how it was asked and how it ended.
#[derive(Serialize)]
struct JournalLine<'a> {
    class: &'a str,
    name: &'a str,
    template: usize,
    question: &'a str,
    text: &'a str,
    #[serde(flatten)]
    settings: &'a Settings,
    /// Why the model stopped, in the server's words; `length` where `max_tokens` cut it off.
    finish: Option<&'a str>,
}

/// What a model said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ModelAnswer {
    pub text: String,
    pub finish: Option<String>,
}

/// The file, open and locked against other runs.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines.
    len: u64,
    /// Whether each question has its answer.
    pub answered: Vec<bool>,
    /// What was done about a torn last line, if there was one.
    pub repaired: Option<String>,
}

impl Journal {
    /// Opens or begins the file, and finds out which of `questions` it answers.
    ///
    /// A line counts where class and question are the same. What was asked otherwise is refused
    /// rather than mixed in: a line of another model or other settings, one that answers no question
    /// of the set, two that answer the same. A line without `model`, by hand, is taken as it is. The
    /// set may have grown.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::File`] naming the line that is refused or broken.
    pub fn open(path: &Path, questions: &[Question], settings: &Settings) -> Result<Journal> {
        let io = |source| Error::io(path, source);
        if std::fs::metadata(path).is_ok_and(|about| !about.is_file()) {
            return Err(Error::file(path, "exists and isn't a regular file"));
        }
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).open(path).map_err(io)?;
        lock(&file, path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        let mut journal = Journal {
            path: path.to_path_buf(),
            file,
            len: bytes.len() as u64,
            answered: vec![false; questions.len()],
            repaired: None,
        };
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let tail = &bytes[whole..];
        let tail_is_whole = serde_json::from_slice::<Map<String, Value>>(tail).is_ok();
        let kept = if tail_is_whole { bytes.len() } else { whole };
        let Ok(text) = std::str::from_utf8(&bytes[..kept]) else {
            return Err(Error::file(path, "is not UTF-8 text"));
        };
        // All is read before anything is mended: another kind of file must stay as it is.
        journal.read(text, questions, settings)?;
        if tail_is_whole {
            journal.append(b"\n")?;
        } else if !tail.is_empty() {
            if !is_torn(tail) {
                let detail = "ends in something that isn't the beginning of an answer's line";
                return Err(Error::file(path, detail));
            }
            journal.cut(whole as u64)?;
            journal.repaired =
                Some(format!("{}: cut off {} bytes of a torn line", path.display(), tail.len()));
        }
        Ok(journal)
    }

    fn read(&mut self, text: &str, questions: &[Question], settings: &Settings) -> Result<()> {
        let places: HashMap<(&str, &str), usize> = questions
            .iter()
            .enumerate()
            .map(|(i, q)| ((q.class.as_str(), q.question.as_str()), i))
            .collect();
        let mut lines_of = vec![0; questions.len()];
        for (number, line) in text.lines().enumerate().map(|(i, line)| (i + 1, line)) {
            if line.trim().is_empty() {
                continue;
            }
            let refuse =
                |detail: String| Error::file(&self.path, format!("line {number} {detail}"));
            let line: Map<String, Value> = lines::parse(&self.path, number, line)?;
            let field = |name: &str| line.get(name).and_then(Value::as_str);
            let (Some(class), Some(question), Some(answer)) =
                (field("class"), field("question"), field("text"))
            else {
                return Err(refuse("isn't an answer: it lacks class, question or text".into()));
            };
            if answer.trim().is_empty() {
                return Err(refuse("has an empty text".into()));
            }
            let Some(&place) = places.get(&(class, question)) else {
                let detail = format!(
                    "answers what isn't asked: {}, {}; another set of questions needs another file",
                    shorten(class, 40),
                    shorten(question, 60)
                );
                return Err(refuse(detail));
            };
            if line.contains_key("model")
                && let Some(difference) = settings.difference(&line)
            {
                let detail =
                    format!("was asked with {difference}; other settings need another file");
                return Err(refuse(detail));
            }
            if lines_of[place] != 0 {
                return Err(refuse(format!("answers the question of line {}", lines_of[place])));
            }
            lines_of[place] = number;
            self.answered[place] = true;
        }
        Ok(())
    }

    /// Adds an answer: on the disk, whole, when this returns.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk refuses; the file then still ends in a whole line, if the disk
    /// allows that much.
    pub fn write(
        &mut self,
        question: &Question,
        answer: &ModelAnswer,
        settings: &Settings,
    ) -> Result<()> {
        let line = lines::line(&JournalLine {
            class: &question.class,
            name: &question.name,
            template: question.template,
            question: &question.question,
            text: &answer.text,
            settings,
            finish: answer.finish.as_deref(),
        })?;
        self.append(line.as_bytes())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // What can't be cut off now, the next run finds torn.
            let _ = self.cut(self.len);
            return Err(Error::io(&self.path, source));
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn cut(&mut self, len: u64) -> Result<()> {
        let io = |source| Error::io(&self.path, source);
        self.file.set_len(len).map_err(io)?;
        self.file.seek(SeekFrom::Start(len)).map_err(io)?;
        self.file.sync_data().map_err(io)?;
        self.len = len;
        Ok(())
    }
}

/// Locks the file against other runs; one that was killed may take a moment to be gone.
fn lock(file: &File, path: &Path) -> Result<()> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(source)) => return Err(Error::io(path, source)),
            Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => {
                std::thread::sleep(PATIENCE / 50);
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Error::file(path, "is being written by another run"));
            }
        }
    }
}

/// Whether the bytes behind the last line feed are what a killed run leaves: the beginning of a
/// line, a length of zeros, or one and then the other.
fn is_torn(tail: &[u8]) -> bool {
    let end = tail.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
    let tail = &tail[..end];
    tail.starts_with(START) || START.starts_with(tail)
}
