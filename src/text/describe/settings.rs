//! How a question is put to a model, and what of it a line records.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::error::shorten;
use crate::{Error, Result};

/// What models are told about their answers unless a flag says otherwise: CLIP reads 77 tokens, and
/// nothing but what a picture shows helps it.
pub const SYSTEM: &str = "You describe what things look like in photos. Answer with one plain \
     sentence of at most 40 words, about visible features only: shape, parts, colours, texture, \
     surroundings. No list, no preamble.";

/// What decides a model's answer beside the question. Recorded in each line, and one for a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// The model's name, as the server knows it.
    pub model: String,
    /// The system prompt; none is sent where it is absent.
    pub system: Option<String>,
    /// Left to the server where absent.
    pub temperature: Option<f64>,
    /// Left to the server where absent.
    pub max_tokens: Option<u32>,
    /// Left to the server where absent.
    pub seed: Option<i64>,
    /// Further fields of a request, `{"top_p": 0.9}` say.
    pub extra: Map<String, Value>,
}

/// Fields of a request that are this program's to fill.
const OWN: [&str; 3] = ["model", "messages", "stream"];

impl Settings {
    /// # Errors
    /// [`Error::Usage`] for an empty model, numbers that no server takes, or an extra field that
    /// isn't the user's to set.
    pub fn check(&self) -> Result<()> {
        if self.model.trim().is_empty() {
            return Err(Error::usage("--model names no model"));
        }
        if self.temperature.is_some_and(|t| !(0.0..=2.0).contains(&t)) {
            return Err(Error::usage("--temperature is a number from 0 to 2, or none"));
        }
        if let Some(name) = OWN.iter().find(|&&name| self.extra.contains_key(name)) {
            return Err(Error::usage(format!("--extra may not set {name}")));
        }
        Ok(())
    }

    /// The body of a request that asks `question`.
    pub(super) fn request(&self, question: &str) -> Value {
        let mut messages = Vec::new();
        if let Some(system) = &self.system {
            messages.push(json!({"role": "system", "content": system}));
        }
        messages.push(json!({"role": "user", "content": question}));
        let mut body = Map::new();
        body.insert("model".into(), json!(self.model));
        body.insert("messages".into(), Value::Array(messages));
        if let Some(temperature) = self.temperature {
            body.insert("temperature".into(), json!(temperature));
        }
        if let Some(most) = self.max_tokens {
            body.insert("max_tokens".into(), json!(most));
        }
        if let Some(seed) = self.seed {
            body.insert("seed".into(), json!(seed));
        }
        body.extend(self.extra.clone());
        Value::Object(body)
    }

    /// What a line was asked with that these settings would ask otherwise; none where all is the
    /// same.
    pub(super) fn difference(&self, line: &Map<String, Value>) -> Option<String> {
        let own = serde_json::to_value(self).unwrap_or_default();
        own.as_object()?.iter().find_map(|(name, value)| {
            let theirs = line.get(name).unwrap_or(&Value::Null);
            let shown = |value: &Value| shorten(&value.to_string(), 60);
            (theirs != value).then(|| format!("{name} {}, not {}", shown(theirs), shown(value)))
        })
    }
}
