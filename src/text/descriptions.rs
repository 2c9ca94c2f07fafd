//! Descriptions: texts about classes, from a language model, a plain template or a person.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::lines;
use super::questions::Sentence;
use crate::data::ClassList;
use crate::error::{MOST_NAMED, some_of};
use crate::{Error, Result};

/// A line of a file of descriptions as it is written where no one was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlainDescription {
    /// The class's id.
    pub class: String,
    pub name: String,
    /// Which template, from 0.
    pub template: usize,
    pub text: String,
}

impl From<Sentence> for PlainDescription {
    fn from(sentence: Sentence) -> PlainDescription {
        let Sentence { class, name, template, text } = sentence;
        PlainDescription { class, name, template, text }
    }
}

/// The texts about each class of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptions {
    /// One list of at least one text a class, in the order of the class list; texts in the order of
    /// the file.
    pub texts: Vec<Vec<String>>,
    /// Classes that the file has lines about and the class list lacks, in the file's order.
    pub foreign: Vec<String>,
}

/// What of a line is read here.
#[derive(Deserialize)]
struct Line {
    class: String,
    text: String,
}

impl Descriptions {
    /// Reads JSON Lines of at least `{"class": …, "text": …}`; what else a line holds doesn't
    /// matter here. A class is given by its id, or by its name where only one class has it.
    ///
    /// # Errors
    /// [`Error::Io`] if the file can't be read; [`Error::File`] naming a line that isn't a
    /// description or is empty, or the classes that no line is about.
    pub fn open(path: &Path, classes: &ClassList) -> Result<Descriptions> {
        let mut texts = vec![Vec::new(); classes.len()];
        let mut places: HashMap<String, Option<usize>> = HashMap::new();
        let mut foreign = Vec::new();
        for (number, Line { class, text }) in lines::read::<Line>(path)? {
            if text.trim().is_empty() {
                return Err(Error::file(path, format!("line {number}: the text is empty")));
            }
            let place = *places.entry(class).or_insert_with_key(|class| {
                let place = classes.index_of(class);
                if place.is_none() {
                    foreign.push(class.clone());
                }
                place
            });
            if let Some(place) = place {
                texts[place].push(text);
            }
        }
        let missing: Vec<&str> = classes
            .entries()
            .iter()
            .zip(&texts)
            .filter(|(_, texts)| texts.is_empty())
            .map(|(class, _)| class.id.as_str())
            .collect();
        if !missing.is_empty() {
            let detail = format!("says nothing about {}", some_of(&missing, MOST_NAMED));
            return Err(Error::file(path, detail));
        }
        Ok(Descriptions { texts, foreign })
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.texts.iter().map(Vec::len).sum()
    }

    /// Whether there are no texts.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
