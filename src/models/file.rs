//! `models/*.toml`: one small file a backbone.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::dialect::Dialect;
use super::resnet::ResNet;
use crate::error::shorten;
use crate::nn::{Activation, Builder};
use crate::recipe::Recipe;
use crate::tape::NodeId;
use crate::{Error, Result};

/// The files that come with the program.
const FILES: &[(&str, &str)] = &[
    ("resnet18", include_str!("../../models/resnet18.toml")),
    ("resnet34", include_str!("../../models/resnet34.toml")),
    ("resnet50", include_str!("../../models/resnet50.toml")),
    ("resnet101", include_str!("../../models/resnet101.toml")),
    ("resnet152", include_str!("../../models/resnet152.toml")),
    ("resnet_small", include_str!("../../models/resnet_small.toml")),
];

/// The names of the models that come with the program.
pub fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}

/// How images become inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Height and width.
    pub size: usize,
    /// The shorter side before the centre crop; none where images have the right size.
    pub resize: Option<usize>,
    pub mean: [f32; 3],
    pub std: [f32; 3],
}

/// The published figures, baseline and text-guided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Top-1 in percent, baseline and text-guided.
    pub accuracy: [f64; 2],
    /// Improvement in reliability, last layer, as a ratio.
    pub last_layer: f64,
    /// Improvement in reliability, overall, as a ratio.
    pub overall: f64,
    /// Improvement in Top2Diff, in percentage points.
    pub top2diff: f64,
}

/// The numbers of a family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "family", content = "architecture", rename_all = "lowercase")]
enum Family {
    ResNet(ResNet),
}

/// A backbone: its numbers, its input, its training recipe, the published figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelFile {
    #[serde(skip)]
    pub name: String,
    #[serde(flatten)]
    family: Family,
    pub input: Input,
    pub recipe: Recipe,
    pub published: Option<Published>,
}

impl ModelFile {
    /// The model called `name`, or the file at that path.
    ///
    /// # Errors
    /// A name that doesn't exist, with those that do; a file that isn't a model, with the cause.
    pub fn open(name: &str) -> Result<ModelFile> {
        if let Some((name, text)) = FILES.iter().find(|(known, _)| *known == name) {
            return Self::parse(name, text, Path::new(&format!("models/{name}.toml")));
        }
        let path = Path::new(name);
        if path.extension().is_none_or(|extension| extension != "toml") {
            let known: Vec<&str> = names().collect();
            return Err(Error::usage(format!(
                "unknown model '{name}'; known: {}, or the path of a .toml file",
                known.join(", ")
            )));
        }
        let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        Self::parse(&stem.unwrap_or_default(), &text, path)
    }

    /// The model that `text` describes, called `name`; `path` is what errors call the text.
    ///
    /// # Errors
    /// Text that isn't a model, with the cause.
    pub fn parse(name: &str, text: &str, path: &Path) -> Result<ModelFile> {
        // The crate's sentences quote the text, which may be all of the file.
        let file: ModelFile = toml::from_str(text).map_err(|error| {
            Error::file(path, format!("isn't a model: {}", shorten(error.message(), 400)))
        })?;
        file.recipe.check()?;
        Ok(ModelFile { name: name.into(), ..file })
    }

    /// The same network with SiLU for ReLU and an average for a maximum in the stem: its gradients
    /// have no kinks, so that they can be compared with another implementation's.
    pub fn smooth_twin(&self) -> ModelFile {
        let family = match &self.family {
            Family::ResNet(resnet) => Family::ResNet(resnet.smooth_twin()),
        };
        ModelFile { family, ..self.clone() }
    }

    pub(super) fn activation(&self) -> Activation {
        match &self.family {
            Family::ResNet(resnet) => resnet.activation,
        }
    }

    /// The names that other programs give the family's tensors, where there are any.
    pub(super) fn dialect(&self) -> Option<&'static Dialect> {
        match &self.family {
            Family::ResNet(_) => None,
        }
    }

    /// Records the backbone up to its last layer, which is left to the head: its name and input.
    pub(super) fn record_backbone(
        &self,
        builder: &mut Builder<'_>,
        image: NodeId,
    ) -> Result<(&'static str, NodeId)> {
        match &self.family {
            Family::ResNet(resnet) => resnet.record(builder, image),
        }
    }
}
