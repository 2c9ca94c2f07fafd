//! The flags that name a network, and what they and its checkpoint say of it together.

use std::path::{Path, PathBuf};

use super::common::file_sha256;
use crate::checkpoint::Checkpoint;
use crate::data::{ClassList, Numbering};
use crate::device::Device;
use crate::models::{Facts, Model, ModelFile, detect_head, load_state};
use crate::progress::Progress;
use crate::tape::Weights;
use crate::{Error, Result};

/// Which model, with which weights.
#[derive(clap::Args, Clone, Debug)]
pub struct ModelArgs {
    /// A model's name (see `flipside models`) or a .toml file; needed where the checkpoint doesn't say
    #[arg(long)]
    model: Option<String>,
    /// Weights: .pth or .safetensors; whether they are text-guided is read off their keys
    #[arg(long)]
    pub checkpoint: PathBuf,
    /// Height and width of the images; the checkpoint's own if absent, else the model file's. With
    /// another, the shorter side is resized to it and nothing but the longer side is cut
    #[arg(long)]
    image_size: Option<usize>,
}

/// A model with weights from a file.
pub struct Loaded {
    /// The model file, with the preprocessing that holds.
    pub file: ModelFile,
    pub model: Model,
    pub weights: Weights,
    /// SHA-256 of the checkpoint's file.
    pub sha256: String,
    /// The classes that the checkpoint names.
    pub classes: Option<ClassList>,
}

impl Loaded {
    /// Which number a class has in this network; `given` is the user's class list.
    pub fn numbering<'a>(&'a self, given: Option<&'a ClassList>) -> Numbering<'a> {
        Numbering {
            of: "the checkpoint",
            count: self.model.classes,
            own: self.classes.as_ref(),
            given,
        }
    }
}

impl ModelArgs {
    /// The same flags for another checkpoint.
    pub fn with(&self, checkpoint: &Path) -> ModelArgs {
        ModelArgs { checkpoint: checkpoint.into(), ..self.clone() }
    }

    /// Opens the checkpoint, reads the head off it and loads the weights onto `device`. What the checkpoint
    /// says about itself holds; flags overrule it, and `progress` hears of that.
    ///
    /// # Errors
    /// Those of reading; a checkpoint that contradicts itself or the model file; no model where the checkpoint
    /// names none.
    pub fn load(&self, device: &Device, progress: &dyn Progress) -> Result<Loaded> {
        let path = &self.checkpoint;
        let checkpoint = Checkpoint::open(path)?;
        let facts = Facts::read(&checkpoint)?;
        let overruled = |what: String| progress.line(&format!("{}: {what}", path.display()));
        let mut file = self.model_file(&facts, &overruled)?;
        self.settle_input(&facts, &mut file, &overruled);
        let (head, classes) = detect_head(&checkpoint, &file)?;
        facts.check(&checkpoint, head, classes)?;
        let image_size = match (self.image_size, facts.image_size) {
            (Some(flag), Some(own)) if flag != own => {
                overruled(format!("made for {own}×{own} pixels, run at {flag} (--image-size)"));
                flag
            }
            (flag, own) => flag.or(own).unwrap_or(file.input.size),
        };
        let model = Model::new(&file, head, classes, image_size, 0.0)?;
        let mut weights = Weights::new(&model.tape, device, false)?;
        load_state(&model, &mut weights, &checkpoint)?;
        let classes = facts.class_names.map(ClassList::from_pairs).transpose();
        let classes = classes.map_err(|detail| {
            Error::file(path, format!("the list of classes in its metadata {detail}"))
        })?;
        Ok(Loaded { file, model, weights, sha256: file_sha256(path)?, classes })
    }

    /// The model file that the flag names, else the checkpoint.
    fn model_file(&self, facts: &Facts, overruled: &dyn Fn(String)) -> Result<ModelFile> {
        let path = &self.checkpoint;
        let file = match (&self.model, &facts.model) {
            (Some(flag), _) => ModelFile::open(flag)?,
            (None, Some(own)) => ModelFile::open(own).map_err(|_| {
                let known =
                    "a model that doesn't come with the program: --model names its .toml file";
                Error::file(path, format!("is of {own}, {known}"))
            })?,
            (None, None) => {
                let detail = "doesn't say which model it is of: --model does";
                return Err(Error::file(path, detail));
            }
        };
        if let Some(own) = facts.architecture.as_ref().filter(|own| **own != file.architecture()) {
            let detail = format!(
                "its metadata says that its architecture is {own}, but {} is {}",
                file.name,
                file.architecture()
            );
            return Err(Error::file(path, detail));
        }
        if let Some(own) = facts.model.as_ref().filter(|own| **own != file.name) {
            overruled(format!("says that it is {own}, taken for {} (--model)", file.name));
        }
        Ok(file)
    }

    /// The checkpoint's own preprocessing holds, unless the user names a .toml file that has another.
    fn settle_input(&self, facts: &Facts, file: &mut ModelFile, overruled: &dyn Fn(String)) {
        let Some(own) = facts.input.as_ref().filter(|own| **own != file.input) else {
            return;
        };
        match self.model.as_deref().filter(|flag| Path::new(flag).extension().is_some()) {
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
    }
}
