//! `models/*.toml`: one small file a backbone.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use strum::{EnumIter, IntoStaticStr};

use super::alexnet::AlexNet;
use super::dialect::Dialect;
use super::focalnet::FocalNet;
use super::focalnet_names;
use super::maxvit::MaxVit;
use super::mobilenet::MobileNetV2;
use super::onnx::{OnnxNetwork, is_onnx};
use super::resnet::ResNet;
use super::swin_v2::SwinV2;
use super::vgg::Vgg;
use crate::error::shorten;
use crate::nn::{Builder, LastLayer};
use crate::recipe::{Filter, Recipe};
use crate::tape::NodeId;
use crate::{Error, Result};

/// Name and text of each file.
macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../models/", $name, ".toml")))),*]
    };
}

/// The files that come with the program.
const FILES: &[(&str, &str)] = files![
    "alexnet",
    "vgg16_bn",
    "vgg19_bn",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "mobilenet_v2",
    "maxvit_t",
    "swin_v2_t",
    "swin_v2_s",
    "focalnet_tiny",
    "focalnet_tiny_lrf",
    "focalnet_small",
    "focalnet_small_lrf",
    "resnet_small",
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
    /// Filter of resizing, in training and in evaluation.
    #[serde(default)]
    pub interpolation: Filter,
    pub mean: [f32; 3],
    pub std: [f32; 3],
}

impl Input {
    /// Reads the table `[input]` of a .toml file that has nothing else.
    ///
    /// # Errors
    /// A file that isn't such a table, or has more in it.
    pub fn open(path: &Path) -> Result<Input> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            input: Input,
        }
        let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
        let file: File = toml::from_str(&text).map_err(|error| {
            Error::file(path, format!("isn't a table [input]: {}", shorten(error.message(), 400)))
        })?;
        file.input.check().map_err(|error| Error::file(path, error.to_string()))?;
        Ok(file.input)
    }

    /// Refuses sizes that no network takes, and numbers that spoil every pixel.
    ///
    /// # Errors
    /// [`Error::Usage`] that says which.
    pub fn check(&self) -> Result<()> {
        let sizes = 1..=super::MAX_IMAGE_SIZE;
        let fits =
            sizes.contains(&self.size) && self.resize.is_none_or(|side| sizes.contains(&side));
        let is_finite = self.mean.iter().chain(&self.std).all(|value| value.is_finite());
        if !fits || !is_finite || self.std.iter().any(|std| *std <= 0.0) {
            return Err(Error::usage(format!(
                "the preprocessing takes sizes from 1 to {}, finite means and positive deviations",
                super::MAX_IMAGE_SIZE
            )));
        }
        Ok(())
    }
}

/// Where maps of saliency are taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaliencyAt {
    /// Name of a layer whose output is a map, as the tape has it.
    pub layer: String,
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
#[serde(tag = "family", content = "architecture", rename_all = "snake_case")]
enum Family {
    #[serde(rename = "alexnet")]
    AlexNet(AlexNet),
    Vgg(Vgg),
    #[serde(rename = "resnet")]
    ResNet(ResNet),
    #[serde(rename = "mobilenet_v2")]
    MobileNetV2(MobileNetV2),
    #[serde(rename = "maxvit")]
    MaxVit(MaxVit),
    #[serde(rename = "swin_v2")]
    SwinV2(SwinV2),
    #[serde(rename = "focalnet")]
    FocalNet(FocalNet),
    /// A network out of an ONNX file; in no .toml file.
    #[serde(skip_deserializing)]
    Onnx(OnnxNetwork),
}

/// A backbone: its numbers, its input, its training recipe, the published figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelFile {
    #[serde(skip)]
    pub name: String,
    /// Whether this is the smooth twin.
    #[serde(skip)]
    smooth: bool,
    #[serde(flatten)]
    family: Family,
    pub input: Input,
    /// None in a file that doesn't say.
    pub saliency: Option<SaliencyAt>,
    recipe: Option<Recipe>,
    /// On ImageNet.
    pub published: Option<Published>,
    /// On other data sets.
    #[serde(default)]
    published_on: BTreeMap<SmallSet, Published>,
}

/// A data set other than ImageNet that figures were published on.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    EnumIter,
    IntoStaticStr,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum SmallSet {
    Cifar10,
    Cifar100,
    Food101,
    Stl10,
}

/// What a model file may hold.
const KEYS: [&str; 7] =
    ["family", "architecture", "input", "saliency", "recipe", "published", "published_on"];

impl ModelFile {
    /// The model called `name`, or the .toml or .onnx file at that path.
    ///
    /// # Errors
    /// A name that doesn't exist, with those that do; a file that isn't a model, with the cause.
    pub fn open(name: &str) -> Result<ModelFile> {
        if let Some((name, text)) = FILES.iter().find(|(known, _)| *known == name) {
            return Self::parse(name, text, Path::new(&format!("models/{name}.toml")));
        }
        let path = Path::new(name);
        if is_onnx(path) {
            return Self::of_onnx(path);
        }
        if path.extension().is_none_or(|extension| extension != "toml") {
            let known: Vec<&str> = names().collect();
            return Err(Error::usage(format!(
                "unknown model '{name}'; known: {}, or the path of an .onnx or .toml file",
                known.join(", ")
            )));
        }
        let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        Self::parse(&stem.unwrap_or_default(), &text, path)
    }

    /// The network in the ONNX file at `path`, its images prepared as torchvision's classifiers take them:
    /// what the file doesn't say.
    fn of_onnx(path: &Path) -> Result<ModelFile> {
        let network = OnnxNetwork::open(path)?;
        let size = network.image_size()?.unwrap_or(224);
        let name = path.file_name().map(|name| shorten(&name.to_string_lossy(), 200));
        let input = Input {
            size,
            // 256 for 224, as there.
            resize: Some(size * 8 / 7),
            interpolation: Filter::default(),
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        };
        Ok(ModelFile {
            name: name.unwrap_or_default(),
            smooth: false,
            family: Family::Onnx(network),
            input,
            saliency: None,
            recipe: None,
            published: None,
            published_on: BTreeMap::new(),
        })
    }

    /// The text of a file that comes with the program.
    pub fn text(name: &str) -> Option<&'static str> {
        FILES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
    }

    /// The network of an ONNX file, where it is one.
    pub fn onnx(&self) -> Option<&OnnxNetwork> {
        match &self.family {
            Family::Onnx(network) => Some(network),
            _ => None,
        }
    }

    /// The model that `text` describes, called `name`; `path` is what errors call the text.
    ///
    /// # Errors
    /// Text that isn't a model, with the cause.
    pub fn parse(name: &str, text: &str, path: &Path) -> Result<ModelFile> {
        let file: ModelFile = toml::from_str(text)
            .map_err(|error| Error::toml(path, "isn't a model", text, &error))?;
        // What is flattened can't refuse them itself.
        let keys: toml::Table = toml::from_str(text).unwrap_or_default();
        if let Some(key) = keys.keys().find(|key| !KEYS.contains(&key.as_str())) {
            let detail = format!(
                "isn't a model: unknown key `{}`; known: {}",
                shorten(key, 80),
                KEYS.join(", ")
            );
            return Err(Error::file(path, detail));
        }
        file.input.check().map_err(|error| Error::file(path, error.to_string()))?;
        file.recipe.as_ref().map_or(Ok(()), Recipe::check)?;
        Ok(ModelFile { name: name.into(), ..file })
    }

    /// The same network's smooth twin (see [`Builder`]).
    pub fn smooth_twin(&self) -> ModelFile {
        ModelFile { smooth: true, ..self.clone() }
    }

    /// How the network is trained.
    ///
    /// # Errors
    /// A file that doesn't say.
    pub fn recipe(&self) -> Result<&Recipe> {
        let missing = || {
            Error::usage(match self.onnx() {
                Some(_) => format!(
                    "{} says no recipe: training takes a model that `flipside models` lists, or a .toml file",
                    self.name
                ),
                None => format!(
                    "the file of model '{}' has no [recipe], which training takes: copy that of a model like it",
                    self.name
                ),
            })
        };
        self.recipe.as_ref().ok_or_else(missing)
    }

    /// What was published of it on a data set other than ImageNet.
    pub fn published_on(&self, set: SmallSet) -> Option<&Published> {
        self.published_on.get(&set)
    }

    /// Family and numbers, as JSON.
    pub fn architecture(&self) -> serde_json::Value {
        // Plain numbers and lists: they always can be.
        serde_json::to_value(&self.family).unwrap_or_default()
    }

    pub(super) fn is_smooth(&self) -> bool {
        self.smooth
    }

    /// The names that other programs give the family's tensors, where there are any.
    pub(super) fn dialect(&self) -> Option<&'static Dialect> {
        match &self.family {
            Family::FocalNet(_) => Some(&focalnet_names::AUTHORS),
            _ => None,
        }
    }

    /// Records the backbone behind `image` up to its last layer, which is left to the head. The map
    /// needs not be square.
    ///
    /// # Errors
    /// Where the architecture can't take maps of that size, or its numbers don't fit.
    pub fn record_backbone(&self, builder: &mut Builder<'_>, image: NodeId) -> Result<LastLayer> {
        let last = match &self.family {
            Family::AlexNet(alexnet) => alexnet.record(builder, image),
            Family::Vgg(vgg) => vgg.record(builder, image),
            Family::ResNet(resnet) => resnet.record(builder, image),
            Family::MobileNetV2(mobilenet) => mobilenet.record(builder, image),
            Family::MaxVit(maxvit) => maxvit.record(builder, image),
            Family::SwinV2(swin) => swin.record(builder, image),
            Family::FocalNet(focalnet) => focalnet.record(builder, image),
            Family::Onnx(network) => network.record_backbone(builder, image),
        };
        last.map_err(|error| match error {
            Error::Usage { detail } => Error::usage(format!("model '{}': {detail}", self.name)),
            other => other,
        })
    }
}
