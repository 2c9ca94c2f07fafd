//! Questions: what a language model is asked about each class, so that its answers describe what a
//! picture of the class shows.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::lines;
use crate::data::ClassList;
use crate::error::shorten;
use crate::{Error, Result};

/// Where a template has the class name.
pub const PLACEHOLDER: &str = "{class}";

/// The questions that are asked about each class unless a file says otherwise. They ask for what a
/// camera sees: parts, shape, colour, surroundings, and what tells a class from its neighbours.
pub const QUESTIONS: [&str; 10] = [
    "Describe a photo of a {class}",
    "What does a {class} look like?",
    "Which shape and outline does a {class} have?",
    "Which colours, patterns and textures are typical of a {class}?",
    "Which parts of a {class} can be seen in a photo, and how do they lie to each other?",
    "How can one tell in a photo that it shows a {class}?",
    "What sets a {class} apart from things that look much like it?",
    "Where are photos of a {class} usually taken, and what else is in them?",
    "What would one see in a close-up of a {class}?",
    "Describe a {class} to somebody who has to draw it and has never seen one",
];

/// What is a description already, of nothing but the name: the ablation of questions and answers.
pub const PLAIN: [&str; 1] = ["a photo of a {class}"];

/// Sentences that hold [`PLACEHOLDER`] at least once each, no two alike.
///
/// Names go in as the class list has them. An article before them is not adapted ("a {class}" gives
/// "a apple"): spelling doesn't decide it ("an hour", "a unicycle"). Templates of one's own may do
/// without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Templates(Vec<String>);

impl Templates {
    /// [`QUESTIONS`].
    pub fn questions() -> Templates {
        Templates(QUESTIONS.map(String::from).to_vec())
    }

    /// [`PLAIN`].
    pub fn plain() -> Templates {
        Templates(PLAIN.map(String::from).to_vec())
    }

    /// Reads a text file of one template a line; empty lines and those that start with `#` are
    /// passed over.
    ///
    /// # Errors
    /// [`Error::Io`] if the file can't be read; [`Error::File`] naming the line of a template that
    /// has no [`PLACEHOLDER`] or is there twice, or if there is none at all.
    pub fn open(path: &Path) -> Result<Templates> {
        let text = lines::text(path)?;
        let mut templates = Vec::new();
        let mut seen = HashMap::new();
        for (number, line) in text.lines().enumerate().map(|(i, line)| (i + 1, line.trim())) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if !line.contains(PLACEHOLDER) {
                let shown = shorten(line, 60);
                let detail = format!("line {number} has no {PLACEHOLDER}: {shown}");
                return Err(Error::file(path, detail));
            }
            if let Some(first) = seen.insert(line, number) {
                return Err(Error::file(path, format!("line {number} repeats line {first}")));
            }
            templates.push(line.to_string());
        }
        match templates.is_empty() {
            true => Err(Error::file(path, "holds no templates")),
            false => Ok(Templates(templates)),
        }
    }

    /// The sentences in their order.
    pub fn sentences(&self) -> &[String] {
        &self.0
    }

    /// Every sentence about every class, class by class.
    pub fn about<'a>(&'a self, classes: &'a ClassList) -> impl Iterator<Item = Sentence> + 'a {
        classes.entries().iter().flat_map(move |class| {
            self.0.iter().enumerate().map(move |(template, sentence)| Sentence {
                class: class.id.clone(),
                name: class.name.clone(),
                template,
                text: sentence.replace(PLACEHOLDER, &class.name),
            })
        })
    }
}

/// A template filled with a class name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// The class's id.
    pub class: String,
    pub name: String,
    /// Which template, from 0.
    pub template: usize,
    pub text: String,
}

/// A line of a file of questions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The class's id.
    pub class: String,
    #[serde(default)]
    pub name: String,
    /// Which template, from 0.
    #[serde(default)]
    pub template: usize,
    pub question: String,
}

impl From<Sentence> for Question {
    fn from(sentence: Sentence) -> Question {
        let Sentence { class, name, template, text } = sentence;
        Question { class, name, template, question: text }
    }
}

impl Question {
    /// Reads a file of questions, JSON Lines with at least `class` and `question`.
    ///
    /// # Errors
    /// [`Error::Io`] if the file can't be read; [`Error::File`] naming the line of one that isn't a
    /// question, is empty or asks the same of the same class again, or if there is none at all.
    pub fn open(path: &Path) -> Result<Vec<Question>> {
        let mut seen = HashMap::new();
        let mut questions = Vec::new();
        for (number, question) in lines::read::<Question>(path)? {
            if question.class.trim().is_empty() || question.question.trim().is_empty() {
                let detail = format!("line {number}: the class or the question is empty");
                return Err(Error::file(path, detail));
            }
            let key = (question.class.clone(), question.question.clone());
            if let Some(first) = seen.insert(key, number) {
                return Err(Error::file(path, format!("line {number} repeats line {first}")));
            }
            questions.push(question);
        }
        match questions.is_empty() {
            true => Err(Error::file(path, "holds no questions")),
            false => Ok(questions),
        }
    }
}

/// Names that several classes have, and which: their questions, and so their features, are alike.
pub fn shared_names(classes: &ClassList) -> Vec<(&str, Vec<&str>)> {
    let mut ids: HashMap<&str, Vec<&str>> = HashMap::new();
    for class in classes.entries() {
        ids.entry(&class.name).or_default().push(&class.id);
    }
    let mut shared: Vec<_> = ids.into_iter().filter(|(_, ids)| ids.len() > 1).collect();
    shared.sort();
    shared
}
