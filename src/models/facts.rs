//! What a checkpoint says about itself: the metadata of a safetensors file that this program wrote.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::state::{HEAD, contradiction};
use super::{Input, Model, ModelFile};
use crate::error::shorten;
use crate::nn::Head;
use crate::{Error, Result};

/// What stands before the keys that are this program's.
const OURS: &str = "flipside.";
const MODEL: &str = "flipside.model";
const CLASSES: &str = "flipside.classes";
const IMAGE_SIZE: &str = "flipside.image_size";
const ARCHITECTURE: &str = "flipside.architecture";
const INPUT: &str = "flipside.input";
const CLASS_NAMES: &str = "flipside.class_names";
/// Keys of training runs, which `train` reads.
const OF_RUNS: [&str; 4] =
    [super::state::KIND, "flipside.run", "flipside.position", "flipside.epoch"];

/// What a checkpoint says about itself. All of it is absent from files of other programs, and older files of
/// this one lack the last three.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Name of the model file.
    pub model: Option<String>,
    /// The head, as [`Head`] prints itself.
    pub head: Option<String>,
    pub classes: Option<usize>,
    /// Height and width of the images that it was trained on.
    pub image_size: Option<usize>,
    /// [`ModelFile::architecture`].
    pub architecture: Option<serde_json::Value>,
    /// How images become inputs.
    pub input: Option<Input>,
    /// Ids and names of the classes, in the order of the last layer's rows.
    pub class_names: Option<Vec<(String, String)>>,
}

impl Facts {
    /// What a network of one's own is: no model file tells more.
    pub fn of_model(model: &Model, name: &str) -> Facts {
        Facts {
            model: Some(name.into()),
            head: Some(model.head.to_string()),
            classes: Some(model.classes),
            image_size: Some(model.image_size),
            ..Facts::default()
        }
    }

    /// What the network of a model file is, and the ids and names of its classes where they are known.
    pub fn new(
        model: &Model,
        file: &ModelFile,
        class_names: Option<Vec<(String, String)>>,
    ) -> Facts {
        Facts {
            architecture: Some(file.architecture()),
            input: Some(file.input.clone()),
            class_names,
            ..Facts::of_model(model, &file.name)
        }
    }

    /// Reads what the file at `path` says.
    ///
    /// # Errors
    /// Those of opening the file; [`Error::File`] for a value that makes no sense, and for a key of this
    /// program's that it doesn't know.
    pub fn open(path: &Path) -> Result<Facts> {
        let mut facts = Facts::default();
        for (key, text) in &crate::checkpoint::metadata(path)? {
            let wrong = |detail: String| {
                let (key, text) = (shorten(key, 80), shorten(text, 80));
                Error::file(path, format!("its metadata says {key} = {text}, {detail}"))
            };
            match key.as_str() {
                MODEL => facts.model = Some(text.clone()),
                HEAD => facts.head = Some(text.clone()),
                CLASSES => facts.classes = Some(parse(text).map_err(wrong)?),
                IMAGE_SIZE => facts.image_size = Some(parse(text).map_err(wrong)?),
                ARCHITECTURE => facts.architecture = Some(parse(text).map_err(wrong)?),
                INPUT => {
                    let input: Input = parse(text).map_err(wrong)?;
                    input.check().map_err(|error| wrong(format!("but {error}")))?;
                    facts.input = Some(input);
                }
                CLASS_NAMES => facts.class_names = Some(parse(text).map_err(wrong)?),
                key if OF_RUNS.contains(&key) || !key.starts_with(OURS) => {}
                _ => return Err(wrong("which this version doesn't know".into())),
            }
        }
        Ok(facts)
    }

    /// Refuses a checkpoint whose tensors aren't what it says.
    ///
    /// # Errors
    /// [`Error::File`] that names both.
    pub fn check(&self, path: &Path, head: Head, classes: usize) -> Result<()> {
        if let Some(says) = self.head.as_ref().filter(|says| **says != head.to_string()) {
            return Err(contradiction(path, says, &head.to_string()));
        }
        let named = self.class_names.as_ref().map(Vec::len);
        match self.classes.into_iter().chain(named).find(|says| *says != classes) {
            Some(says) => {
                let (says, is) = (format!("{says} classes"), format!("{classes} classes"));
                Err(contradiction(path, &says, &is))
            }
            None => Ok(()),
        }
    }

    /// As a safetensors file's metadata.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let facts = [
            (MODEL, self.model.clone()),
            (HEAD, self.head.clone()),
            (CLASSES, self.classes.map(|classes| classes.to_string())),
            (IMAGE_SIZE, self.image_size.map(|size| size.to_string())),
            (ARCHITECTURE, self.architecture.as_ref().map(|value| value.to_string())),
            (INPUT, self.input.as_ref().map(json)),
            (CLASS_NAMES, self.class_names.as_ref().map(json)),
        ];
        // PyTorch's own tools want to read "pt" here.
        let mut metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
        metadata.extend(facts.into_iter().filter_map(|(key, text)| Some((key.to_string(), text?))));
        metadata
    }
}

/// A value as JSON; those here always can be.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn parse<T: DeserializeOwned>(text: &str) -> std::result::Result<T, String> {
    serde_json::from_str(text).map_err(|error| format!("which makes no sense: {error}"))
}
