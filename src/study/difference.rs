//! In what two studies differ, to the bit, by what lies in their folders.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{ModelStart, RUN, STUDY};
use crate::results::{Run, Setting};
use crate::train::{Output, compare_runs};
use crate::{Error, Result};

/// What two studies that are over came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StudiesCompared {
    /// Models, tensors of them and records of the first study that were compared.
    pub models: usize,
    pub tensors: usize,
    pub records: usize,
    /// The first thing in which the second isn't the same, in words.
    pub difference: Option<String>,
    /// What either's campaigns say of program and machine.
    pub settings: Vec<[Setting; 2]>,
}

/// What a study is of, in the order in which differences are told.
const ASKED_KEYS: [&str; 13] = [
    "model",
    "image_size",
    "classes",
    "train_images",
    "test_images",
    "data",
    "synthetic",
    "text",
    "seeds",
    "epochs",
    "layers",
    "injections_per_layer",
    "bits",
];

/// The folder of a model's files in that of a study.
pub fn model_folder(study: &Path, seed: u64, start: ModelStart) -> PathBuf {
    study.join(format!("seed-{seed}")).join(start.slug())
}

/// What a study's folder says of it: the JSON of `flipside study`, and its seeds.
///
/// # Errors
/// A study that isn't over, which has none; a file that is no study's.
pub fn study_json(folder: &Path) -> Result<(Value, Vec<u64>)> {
    let path = folder.join(STUDY);
    if !path.exists() {
        let detail = "holds no study that is over: there is no study.json";
        return Err(Error::file(folder, detail));
    }
    let text = std::fs::read_to_string(&path).map_err(|source| Error::io(&path, source))?;
    let json: Value = serde_json::from_str(&text)
        .map_err(|error| Error::file(&path, format!("isn't a study's JSON: {error}")))?;
    let seeds = json["seeds"].as_array().filter(|seeds| !seeds.is_empty());
    let seeds: Option<Vec<u64>> = seeds.and_then(|seeds| seeds.iter().map(Value::as_u64).collect());
    match seeds {
        Some(seeds) => Ok((json, seeds)),
        None => Err(Error::file(&path, "isn't a study's JSON: it has no seeds")),
    }
}

/// Compares what two studies are of, each seed's models, each seed's campaigns, and the figures.
///
/// # Errors
/// A study that isn't over; those of the files.
pub fn compare_studies(was: &Path, is: &Path) -> Result<StudiesCompared> {
    let ((first, seeds), (second, _)) = (study_json(was)?, study_json(is)?);
    let mut compared = StudiesCompared::default();
    let asked = ASKED_KEYS.iter().find_map(|key| difference(key, &first[*key], &second[*key]));
    if asked.is_some() {
        return Ok(StudiesCompared { difference: asked, ..compared });
    }
    let models: Vec<(u64, ModelStart)> =
        seeds.iter().flat_map(|seed| ModelStart::ALL.map(|start| (*seed, start))).collect();
    for (seed, start) in &models {
        let [from, to] = [was, is].map(|study| Output::at(model_folder(study, *seed, *start)));
        let found = compare_runs(&from, &to)?;
        compared.models += 1;
        compared.tensors += found.tensors;
        compared.note(*seed, *start, found.difference);
    }
    for (seed, start) in models {
        let [from, to] = [was, is].map(|study| model_folder(study, seed, start).join(RUN));
        let (from, to) = (Run::open(&from)?, Run::open(&to)?);
        compared.records += from.records.len();
        compared.note(seed, start, from.difference(&to));
        compared.settings.push([from.manifest.setting, to.manifest.setting]);
    }
    if compared.difference.is_none() {
        compared.difference = difference(STUDY, &first, &second);
    }
    Ok(compared)
}

impl StudiesCompared {
    /// Keeps what differs, if it is the first.
    fn note(&mut self, seed: u64, start: ModelStart, found: Option<String>) {
        if let (None, Some(found)) = (&self.difference, found) {
            self.difference = Some(format!("seed {seed}, {}: {found}", start.name()));
        }
    }
}

/// The first place in which two values differ, by its keys.
fn difference(place: &str, was: &Value, is: &Value) -> Option<String> {
    match (was, is) {
        (Value::Object(from), Value::Object(to)) => {
            let keys = from.keys().chain(to.keys().filter(|key| !from.contains_key(*key)));
            keys.into_iter()
                .find_map(|key| difference(&format!("{place}.{key}"), &was[key], &is[key]))
        }
        (Value::Array(from), Value::Array(to)) if from.len() == to.len() => {
            let places = from.iter().zip(to).enumerate();
            let mut found =
                places.map(|(at, (was, is))| difference(&format!("{place}[{at}]"), was, is));
            found.find_map(|found| found)
        }
        _ => (was != is).then(|| format!("'{place}' is {was} and {is}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_named_by_their_place() {
        let study = json!({"rows": [{"sdc": 0.1}, {"sdc": 0.2}], "seeds": [1, 2]});
        assert_eq!(difference("s", &study, &study), None);
        let mut other = study.clone();
        other["rows"][1]["sdc"] = json!(0.3);
        let found = |other: &Value| difference("s", &study, other).unwrap();
        assert_eq!(found(&other), "'s.rows[1].sdc' is 0.2 and 0.3");
        other = study.clone();
        other["new"] = json!(true);
        assert_eq!(found(&other), "'s.new' is null and true");
        other = study.clone();
        other["seeds"] = json!([1]);
        assert_eq!(found(&other), "'s.seeds' is [1,2] and [1]");
    }
}
