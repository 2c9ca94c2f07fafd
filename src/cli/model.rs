//! The flags that name a network, and what they and its checkpoint say of it together.

use std::path::{Path, PathBuf};

use super::common::file_sha256;
use crate::checkpoint::WeightsKind;
use crate::data::transform::{EvalTransform, Transform};
use crate::data::{ClassList, Numbering};
use crate::device::Device;
use crate::error::shorten;
use crate::models::onnx::is_onnx;
use crate::models::{Facts, Input, Model, ModelFile, Network, detect_head, names, open_checkpoint};
use crate::progress::Progress;
use crate::{Error, Result};

/// Which model, with which weights.
#[derive(clap::Args, Clone, Debug)]
pub struct ModelArgs {
    /// Model name, .toml file or .onnx file; see `flipside models`. Needed unless the checkpoint names its model
    #[arg(long)]
    model: Option<String>,
    /// Weights, .pth or .safetensors; whether they are text-guided is read from their keys, and whether the feature is
    /// normalised from the file's metadata, which without a word is the normalised form. Needed unless the model is an
    /// .onnx file, which holds its own
    #[arg(long)]
    checkpoint: Option<PathBuf>,
    /// How images become inputs, as a .toml file with the table [input] of a model file: for .onnx files, which
    /// don't say. If absent, they are prepared as for torchvision's classifiers, and a line says so
    #[arg(long, value_name = "FILE")]
    preprocess: Option<PathBuf>,
    /// Which weights to read from a checkpoint that holds both plain weights and their moving average: plain
    /// or ema. If absent, the plain ones where there are any, and a line says so
    #[arg(long, value_name = "KIND")]
    weights: Option<WeightsKind>,
    /// Height and width of the images; if absent the checkpoint's own, else the model file's. With any other
    /// value the shorter side is resized to it, and only the longer side is cropped
    #[arg(long)]
    image_size: Option<usize>,
}

/// A network out of a checkpoint's file.
pub struct Loaded {
    /// The model file, with the preprocessing that holds.
    pub file: ModelFile,
    pub network: Network,
    /// SHA-256 of the checkpoint's file; `:ema` behind it where the moving average was read though the
    /// file holds plain weights, too.
    pub sha256: String,
    /// The classes that the checkpoint names.
    classes: Option<ClassList>,
    /// Whether it was written by a version of this program that didn't name them: what that trained has its rows
    /// in the order of the training folders' names.
    is_in_folder_order: bool,
}

impl Loaded {
    /// What turns an image into the network's input in evaluation.
    pub fn transform(&self) -> Transform {
        EvalTransform::of(&self.file.input, self.network.model.image_size).into()
    }

    /// What a file of this network says about itself; `given` is the user's class list.
    ///
    /// # Errors
    /// As [`Numbering::classes`].
    pub fn facts(&self, given: Option<&ClassList>) -> Result<Facts> {
        let classes = self.numbering(given).classes()?.map(ClassList::from_entries);
        let model = &self.network.model;
        let facts = Facts::new(model, &self.file, classes.map(|list| list.pairs()));
        // It stays to be seen that nobody has named them.
        let is_open = self.is_in_folder_order && facts.class_names.is_none();
        Ok(if is_open { Facts::of_model(model, &self.file.name) } else { facts })
    }

    /// The names of the classes, in the order of the logits; `class 3` where nobody names them.
    ///
    /// # Errors
    /// A list that isn't of these classes.
    pub fn class_names(&self, given: Option<&ClassList>) -> Result<Vec<String>> {
        Ok(match self.numbering(given).classes()? {
            Some(entries) => entries.into_iter().map(|entry| entry.name).collect(),
            None => (0..self.network.model.classes).map(|class| format!("class {class}")).collect(),
        })
    }

    /// Which number a class has in this network; `given` is the user's class list.
    pub fn numbering<'a>(&'a self, given: Option<&'a ClassList>) -> Numbering<'a> {
        Numbering {
            of: "the checkpoint",
            count: self.network.model.classes,
            own: self.classes.as_ref(),
            given,
            is_in_folder_order: self.is_in_folder_order,
        }
    }
}

impl ModelArgs {
    /// No more than these two.
    pub fn of(model: Option<String>, checkpoint: PathBuf) -> ModelArgs {
        let checkpoint = Some(checkpoint);
        ModelArgs { model, checkpoint, preprocess: None, weights: None, image_size: None }
    }

    /// The same flags for another checkpoint.
    pub fn with(&self, checkpoint: &Path) -> ModelArgs {
        // An .onnx file is a network of its own.
        let model = self.model.clone().filter(|_| !is_onnx(checkpoint));
        ModelArgs { model, checkpoint: Some(checkpoint.into()), ..self.clone() }
    }

    /// The file that the weights are read from: the checkpoint, else an .onnx model itself; empty where
    /// neither is named, which [`ModelArgs::load`] refuses.
    pub fn weights_file(&self) -> &Path {
        let model = || self.model.as_deref().map(Path::new).filter(|path| is_onnx(path));
        self.checkpoint.as_deref().or_else(model).unwrap_or(Path::new(""))
    }

    /// The checkpoint, where it is named.
    pub fn checkpoint(&self) -> Option<&PathBuf> {
        self.checkpoint.as_ref()
    }

    /// Opens the checkpoint, reads the head off it and loads the weights onto `device`. What the checkpoint
    /// says about itself holds; flags overrule it, which is reported to `progress`.
    ///
    /// # Errors
    /// Those of reading; a checkpoint that contradicts itself or the model file; no model where the checkpoint
    /// names none.
    pub fn load(&self, device: &Device, progress: &dyn Progress) -> Result<Loaded> {
        let path = self.weights_file();
        if path.as_os_str().is_empty() {
            return Err(Error::usage(
                "name the weights with --checkpoint FILE; only an .onnx file as --model brings its own",
            ));
        }
        if let (Some(model), true) = (&self.model, self.checkpoint.is_some() && is_onnx(path))
            && Path::new(model) != path
        {
            return Err(Error::usage(format!(
                "{} is a network of its own, not weights for {model}: name it with --model, or write its weights \
                 with `flipside convert`",
                path.display()
            )));
        }
        let facts = Facts::open(path)?;
        let overruled = |what: String| progress.line(&format!("{}: {what}", path.display()));
        let mut file = self.model_file(&facts, &overruled)?;
        self.settle_input(&facts, &mut file, &overruled)?;
        let own = file.onnx().filter(|_| is_onnx(path));
        let checkpoint = match own {
            Some(_) if self.weights.is_some() => {
                return Err(Error::usage(
                    "--weights has no effect: an .onnx file holds one set of weights",
                ));
            }
            Some(network) => {
                let (checkpoint, notes) = network.checkpoint(self.size_of(&file))?;
                notes.iter().for_each(|note| progress.line(note));
                checkpoint
            }
            None => open_checkpoint(path, &file, self.weights)?,
        };
        if let Some(note) = checkpoint.note() {
            progress.line(&note);
        }
        let (head, classes) = detect_head(&checkpoint, &file)?;
        facts.check(path, head, classes)?;
        let image_size = match (self.image_size, facts.image_size) {
            (Some(flag), Some(own)) if flag != own => {
                overruled(format!("made for {own}×{own} pixels, run at {flag} (--image-size)"));
                flag
            }
            (flag, own) => flag.or(own).unwrap_or(file.input.size),
        };
        let model = Model::new(&file, head, classes, image_size, 0.0)?;
        let network = Network::load(model, &checkpoint, device)?;
        let is_older = facts.model.is_some() && facts.architecture.is_none();
        let is_in_folder_order = is_older && facts.class_names.is_none();
        let classes = facts.class_names.map(ClassList::from_pairs).transpose();
        let classes = classes.map_err(|detail| {
            Error::file(path, format!("the list of classes in its metadata {detail}"))
        })?;
        let mut sha256 = match (own, file.onnx()) {
            (Some(network), _) => network.sha256().to_string(),
            (None, Some(network)) => format!("{}:{}", file_sha256(path)?, network.sha256()),
            (None, None) => file_sha256(path)?,
        };
        if checkpoint.chosen_of_both() == Some(WeightsKind::Ema) {
            sha256.push_str(":ema");
        }
        Ok(Loaded { file, network, sha256, classes, is_in_folder_order })
    }

    /// The model file that the flag names, else the checkpoint.
    fn model_file(&self, facts: &Facts, overruled: &dyn Fn(String)) -> Result<ModelFile> {
        let path = self.weights_file();
        let file = match (&self.model, &facts.model) {
            (Some(flag), _) => ModelFile::open(flag)?,
            (None, _) if is_onnx(path) => ModelFile::open(&path.to_string_lossy())?,
            // A name, never a path: a file that comes from elsewhere opens no other.
            (None, Some(own)) if names().any(|known| known == own) => ModelFile::open(own)?,
            (None, Some(own)) => {
                let known = "a model that doesn't come with the program; name its .toml or .onnx file with --model";
                return Err(Error::file(path, format!("is of {}, {known}", told(own))));
            }
            (None, None) => {
                let detail = "doesn't say which model it is of; name it with --model";
                return Err(Error::file(path, detail));
            }
        };
        if let Some(own) = facts.architecture.as_ref().filter(|own| **own != file.architecture()) {
            let detail = format!(
                "its metadata says that its architecture is {}, but {} is {}",
                told(&own.to_string()),
                file.name,
                file.architecture()
            );
            return Err(Error::file(path, detail));
        }
        if let Some(own) = facts.model.as_ref().filter(|own| **own != file.name) {
            let own = told(own);
            overruled(format!("says that it is {own}, taken for {} (--model)", file.name));
        }
        Ok(file)
    }

    /// Height and width of the images where no checkpoint says: the flag's, else the model file's.
    fn size_of(&self, file: &ModelFile) -> usize {
        self.image_size.unwrap_or(file.input.size)
    }

    /// The checkpoint's own preprocessing holds, unless the user names a .toml file that has another, or one with
    /// --preprocess.
    fn settle_input(
        &self,
        facts: &Facts,
        file: &mut ModelFile,
        overruled: &dyn Fn(String),
    ) -> Result<()> {
        if let Some(path) = &self.preprocess {
            if file.onnx().is_none() {
                return Err(Error::usage(
                    "--preprocess is for .onnx files; other models have the [input] of their .toml file",
                ));
            }
            file.input = Input::open(path)?;
            return Ok(());
        }
        let Some(own) = facts.input.as_ref().filter(|own| **own != file.input) else {
            if file.onnx().is_some() && facts.input.is_none() {
                overruled(format!(
                    "images: {} (an .onnx file doesn't say; --preprocess does)",
                    EvalTransform::of(&file.input, self.size_of(file))
                ));
            }
            return Ok(());
        };
        let is_toml = |flag: &&str| Path::new(flag).extension().is_some() && file.onnx().is_none();
        match self.model.as_deref().filter(is_toml) {
            Some(flag) => overruled(format!(
                "made with another preprocessing than {flag} has, whose [input] is taken (--model)"
            )),
            None => {
                overruled(format!(
                    "has another preprocessing than {}, and is run with it",
                    file.name
                ));
                file.input = own.clone();
            }
        }
        Ok(())
    }
}

/// What a file says of itself, made fit for a message.
fn told(text: &str) -> String {
    shorten(text, 200)
}
