//! The small scale: the built-in images, networks at their least size, and recipes that take minutes.

use std::path::{Path, PathBuf};

use toml::Value;

use super::super::common::create_folder_of;
use crate::checkpoint::atomic;
use crate::models::{Model, ModelFile};
use crate::nn::Head;
use crate::recipe::{OptimizerKind, Recipe, Schedule};
use crate::saliency::layer_of_size;
use crate::{Error, Result};

/// Dimensions of the built-in images' text features, hashed n-grams.
pub const WIDTH: usize = 128;

/// Built-in images for training and those held out.
pub const IMAGES: [usize; 2] = [640, 200];

/// Injections of a layer in a row's campaigns, and in those of an ablation: 384 are the fewest that a mean has an interval of.
pub const INJECTIONS: [u64; 2] = [30, 400];

/// Training images that ranges are measured on.
pub const RANGE_IMAGES: usize = 200;

/// Height and width of images that the network takes at the least, in steps of 32.
pub fn least_size(model: &str) -> usize {
    match model {
        // Its three poolings leave nothing of 32.
        "alexnet" => 64,
        // A window of one token would be no attention.
        "maxvit_t" => 64,
        // At 32 it hardly learns: all but its first layers see a place or four.
        "mobilenet_v2" => 64,
        _ => 32,
    }
}

/// A file that steps read, as it is to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct SmallFile {
    pub path: PathBuf,
    pub text: String,
}

impl SmallFile {
    /// Writes it unless it is there.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn write(&self) -> Result<()> {
        if std::fs::read_to_string(&self.path).is_ok_and(|there| there == self.text) {
            return Ok(());
        }
        create_folder_of(&self.path)?;
        atomic::write(&self.path, |out| out.write_all(self.text.as_bytes()))
    }
}

/// By what the fourteen's channels are divided: then they train in seconds.
const NARROWER: i64 = 4;

/// Hidden units of the layers before the last, where a network has any: as published they are most of its parameters.
const HIDDEN: i64 = 256;

/// The model made small for images of `size`, as a file below `root`: as deep as ever, a quarter as wide, with windows that
/// follow from the size and without dropout. `None` of the one that is small as it comes with the program.
///
/// # Errors
/// A size that windows don't fit.
pub fn model(root: &Path, name: &str, size: usize) -> Result<Option<SmallFile>> {
    if name == "resnet_small" {
        return Ok(None);
    }
    if name == "maxvit_t" && (!size.is_multiple_of(32) || size < 64) {
        return Err(Error::usage(format!("{name} takes images of 64, 96 and so on, not {size}")));
    }
    let text = ModelFile::text(name).unwrap_or_default();
    let bad = |error: &dyn std::fmt::Display| Error::usage(format!("models/{name}.toml: {error}"));
    let mut table: toml::Table = toml::from_str(text).map_err(|error| bad(&error))?;
    let is_vgg = name.starts_with("vgg");
    if let Some(numbers) = table.get_mut("architecture").and_then(Value::as_table_mut) {
        for (key, value) in numbers.iter_mut() {
            match key.as_str() {
                "widths" | "convolutions" | "head_width" => narrow(value),
                "stages" if is_vgg => narrow(value),
                "width" | "stem" if value.is_integer() && name != "mobilenet_v2" => narrow(value),
                "hidden" => *value = Value::from(vec![HIDDEN, HIDDEN]),
                "dropout" | "stochastic_depth" => *value = Value::Float(0.0),
                "partition" => *value = Value::Integer((size / 32) as i64),
                // Of 8×8 places most would be padding.
                "window" if size < 64 => *value = Value::Integer(4),
                _ => {}
            }
        }
    }
    if let Some(input) = table.get_mut("input").and_then(Value::as_table_mut) {
        for key in ["size", "resize"] {
            input.insert(key.into(), Value::Integer(size as i64));
        }
    }
    let text = toml::to_string(&table).map_err(|error| bad(&error))?;
    Ok(Some(SmallFile { path: root.join("models").join(format!("{name}.toml")), text }))
}

/// Divides numbers of channels.
fn narrow(value: &mut Value) {
    match value {
        Value::Integer(channels) => *channels /= NARROWER,
        Value::Array(values) => values.iter_mut().for_each(narrow),
        // Of a convolution, beside its kernel and stride.
        Value::Table(convolution) => convolution.get_mut("channels").into_iter().for_each(narrow),
        _ => {}
    }
}

/// The model itself.
///
/// # Errors
/// As [`model`].
pub fn model_file(root: &Path, name: &str, size: usize) -> Result<ModelFile> {
    match model(root, name, size)? {
        Some(file) => ModelFile::parse(name, &file.text, &file.path),
        None => ModelFile::open(name),
    }
}

/// The layer whose maps are drawn, where the model file's own has less than 4×4 places at this size.
///
/// # Errors
/// A size that the network doesn't take.
pub fn map_layer(file: &ModelFile, size: usize) -> Result<Option<String>> {
    const PLACES: usize = 16;
    let model = Model::new(file, Head::Baseline, 10, size, 0.0)?;
    let own = file.saliency.as_ref().and_then(|at| model.tape.find(&at.layer).ok());
    if own.is_some_and(|id| model.tape.node(id).spec.map.pixels() >= PLACES) {
        return Ok(None);
    }
    Ok(layer_of_size(&model, PLACES).map(String::from))
}

/// The recipe of a network, and what it is called: some 500 steps of the network that ablations are of, 240 of the others.
pub fn recipe_of(model: &str) -> (&'static str, Recipe) {
    let of = |epochs, rate| Recipe::new(epochs, 16, rate, Schedule::Cosine { minimum: 0.0 });
    let (name, recipe) = match model {
        "resnet_small" => ("long", Recipe { momentum: 0.9, weight_decay: 5e-4, ..of(12, 0.05) }),
        _ => {
            let adamw = of(6, 1e-3).with_optimizer(OptimizerKind::AdamW);
            ("short", Recipe { weight_decay: 0.01, ..adamw })
        }
    };
    (name, Recipe { clip_grad_norm: Some(1.0), ..recipe })
}

/// The recipe of a network, as a file below `root`.
///
/// # Errors
/// As [`Recipe::to_toml`].
pub fn recipe(root: &Path, model: &str) -> Result<SmallFile> {
    let (name, recipe) = recipe_of(model);
    let path = root.join("recipes").join(format!("{name}.toml"));
    Ok(SmallFile { path, text: recipe.to_toml()? })
}

/// A path as a word of a command.
///
/// # Errors
/// One that isn't text.
pub fn path_text(path: &Path) -> Result<String> {
    let text = path.to_str().map(String::from);
    text.ok_or_else(|| Error::file(path, "has a name that isn't text"))
}

/// Where the built-in images and their features lie.
pub struct BuiltIn {
    pub data: PathBuf,
    pub features: PathBuf,
    pub template: PathBuf,
    pub template_features: PathBuf,
}

impl BuiltIn {
    pub fn below(root: &Path) -> BuiltIn {
        let folder = root.join("built-in");
        BuiltIn {
            data: folder.join("data"),
            features: folder.join("described.safetensors"),
            template: folder.join("template.jsonl"),
            template_features: folder.join("template.safetensors"),
        }
    }
}
