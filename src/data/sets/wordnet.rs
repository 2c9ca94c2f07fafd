//! Classes that are WordNet ids, and what lists call them.

use std::collections::HashMap;

use super::reading::WholeFile;
use crate::Result;
use crate::data::ClassEntry;
use crate::error::shorten;

/// Names by WordNet ids.
pub(super) struct WordNetNames {
    /// Where they are from, for messages.
    pub source: std::path::PathBuf,
    pub names: HashMap<String, String>,
    /// Whether the ids came in sorted order.
    pub is_sorted: bool,
}

impl WordNetNames {
    /// Of a file with lines of an id, `between` and a name.
    pub fn of_lines(file: &WholeFile, between: char) -> Result<WordNetNames> {
        let mut names = HashMap::new();
        let (mut is_sorted, mut before) = (true, String::new());
        for (at, line) in file.lines()? {
            let shown = shorten(line, 80);
            let wrong = |what: &str| file.error(format!("line {at} ({shown}) {what}"));
            let (id, name) =
                line.split_once(between).ok_or_else(|| wrong("isn't an id and a name"))?;
            if !is_wordnet_id(id) || name.trim().is_empty() {
                return Err(wrong("isn't a WordNet id and a name"));
            }
            if names.insert(id.to_string(), name.trim().to_string()).is_some() {
                return Err(wrong("names an id again"));
            }
            is_sorted &= before.as_str() < id;
            before = id.into();
        }
        Ok(WordNetNames { source: file.path.clone(), names, is_sorted })
    }

    /// Gives classes their names.
    ///
    /// # Errors
    /// A class that has none.
    pub fn name(&self, classes: &mut [ClassEntry]) -> Result<()> {
        for class in classes {
            let missing = || {
                let detail = format!("has no name for {}", shorten(&class.id, 40));
                crate::Error::file(&self.source, detail)
            };
            class.name = self.names.get(&class.id).ok_or_else(missing)?.clone();
        }
        Ok(())
    }
}

/// Whether a word is a WordNet id of a noun, `n01440764` say.
pub(super) fn is_wordnet_id(word: &str) -> bool {
    let digits = word.strip_prefix('n').unwrap_or_default();
    digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_digit())
}

/// The places of classes by their ids.
pub(super) fn class_places(classes: &[ClassEntry]) -> HashMap<&str, u32> {
    classes.iter().zip(0..).map(|(class, place)| (class.id.as_str(), place)).collect()
}
