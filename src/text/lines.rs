//! JSON Lines: a file of one JSON object a line.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::shorten;
use crate::{Error, Result};

/// The values of a file and the numbers of their lines, from 1; empty lines are passed over.
///
/// # Errors
/// [`Error::Io`] if the file can't be read; [`Error::File`] naming the first line that isn't a `T`.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<(usize, T)>> {
    let text = text(path)?;
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(i, line)| Ok((i + 1, parse(path, i + 1, line)?)))
        .collect()
}

/// The `number`th line of a file as a value.
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, number: usize, line: &str) -> Result<T> {
    serde_json::from_str(line).map_err(|error| {
        // serde's sentence ends in " at line 1 column 7", of which only the column is true here.
        let detail = error.to_string().replace(" at line 1 column", ", at column");
        Error::file(path, format!("line {number}: {}", shorten(&detail, 200)))
    })
}

/// A value as a whole line, its end included.
pub(crate) fn line(value: &impl Serialize) -> Result<String> {
    match serde_json::to_string(value) {
        Ok(line) => Ok(line + "\n"),
        Err(error) => Err(Error::usage(format!("can't be written as JSON: {error}"))),
    }
}

/// A text file, without the mark that some editors begin UTF-8 with.
///
/// # Errors
/// [`Error::Io`] if the file can't be read; [`Error::File`] if it isn't UTF-8.
pub(crate) fn text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|source| Error::io(path, source))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::file(path, format!("is not UTF-8 text (byte {at})"))
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text))
}
