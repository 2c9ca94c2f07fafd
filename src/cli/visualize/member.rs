//! A checkpoint whose maps are shown.

use std::path::{Path, PathBuf};

use super::super::model::Loaded;
use super::asked::AskedFault;
use crate::data::transform::EvalTransform;
use crate::data::{ClassList, Image8};
use crate::fault::{FaultSpec, Site};
use crate::models::Network;
use crate::rng::stream;
use crate::saliency::{self, Class, MapRequest, MapTarget, Method, StripNetwork};
use crate::tape::{NodeId, pair_name, weight_entry};
use crate::{Error, Result, logits};

/// A network out of a checkpoint's file, and what is known of its layer and classes.
pub(in crate::cli) struct VisualizedNetwork {
    pub checkpoint: PathBuf,
    pub loaded: Loaded,
    /// SHA-256 by which campaigns name it: its file's, and in studies its weights'.
    sha256: [String; 2],
    layer: NodeId,
    /// Names of its classes, by row.
    classes: Vec<String>,
    /// Which folder is which row; `None` where nobody says.
    folders: Option<ClassList>,
}

impl VisualizedNetwork {
    /// `given` is the user's class list, `layer` the layer that the user names.
    pub fn new(
        loaded: Loaded,
        checkpoint: &Path,
        given: Option<&ClassList>,
        layer: Option<&str>,
    ) -> Result<VisualizedNetwork> {
        let model = &loaded.network.model;
        let own = loaded.file.saliency.as_ref().map(|at| at.layer.as_str());
        let name = layer.or(own).ok_or_else(|| {
            Error::usage(format!(
                "the model file of {} names no layer for maps ([saliency]); name one with --layer",
                loaded.file.name
            ))
        })?;
        let of_file = |error: Error| Error::usage(format!("{}: {error}", checkpoint.display()));
        let layer = saliency::layer(model, pair_name(name)).map_err(of_file)?;
        let folders = loaded.numbering(given).classes()?.map(ClassList::from_entries);
        let classes = match &folders {
            Some(list) => list.entries().iter().map(|entry| entry.name.clone()).collect(),
            None => (0..model.classes).map(|class| format!("class {class}")).collect(),
        };
        let sha256 = [loaded.sha256.clone(), loaded.network.weights.sha256()?];
        let checkpoint = checkpoint.into();
        Ok(VisualizedNetwork { checkpoint, loaded, sha256, layer, classes, folders })
    }

    /// Whether a campaign that names its checkpoint so is of it.
    pub fn is(&self, sha256: &str) -> bool {
        self.sha256.iter().any(|own| own == sha256)
    }

    /// Names of its classes, by row.
    pub fn class_names(&self) -> &[String] {
        &self.classes
    }

    pub fn has_cosines(&self) -> bool {
        self.loaded.network.model.head.has_cosines()
    }

    /// Name of the layer, without `backbone.`.
    pub fn layer_name(&self) -> &str {
        pair_name(&self.loaded.network.model.tape.node(self.layer).name)
    }

    /// Height and width of its maps.
    pub fn map_size(&self) -> [usize; 2] {
        let map = self.loaded.network.model.tape.node(self.layer).spec.map;
        [map.height, map.width]
    }

    /// The layer and the size of its maps.
    pub fn layer_words(&self) -> String {
        let [height, width] = self.map_size();
        format!("{}, maps of {height}×{width}", self.layer_name())
    }

    /// The sizes of what a fault addresses an element of.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the checkpoint, for a layer or parameter that isn't there.
    pub fn sizes(&self, fault: &FaultSpec) -> Result<Vec<usize>> {
        let tape = &self.loaded.network.model.tape;
        let of_file =
            |error: Error| Error::usage(format!("{}: {error}", self.checkpoint.display()));
        if fault.site == Site::Weight {
            let (param, _) = weight_entry(tape, fault).map_err(of_file)?;
            return Ok(tape.params()[param.0].spec.shape.clone());
        }
        let node = tape.find(&fault.layer).map_err(of_file)?;
        let map = tape.node(tape.node_at(node, fault.site).unwrap_or(node)).spec.map;
        Ok(vec![map.channels, map.height, map.width])
    }

    /// The row of the class whose folder an image lies in.
    fn label(&self, asked: &AskedFault) -> Option<usize> {
        let of_campaign = asked.label.as_ref().filter(|(sha256, _)| self.is(sha256));
        let by_folder = || self.folders.as_ref()?.index_of(&asked.folder);
        of_campaign.map(|(_, label)| *label).or_else(by_folder)
    }

    /// The image as this network takes it.
    fn picture(&self, image: &Image8) -> Image8 {
        let size = self.loaded.network.model.image_size;
        EvalTransform::of(&self.loaded.file.input, size).picture(image)
    }

    /// The maps of what is asked.
    pub fn member(
        &self,
        asked: &AskedFault,
        method: Method,
        target: MapTarget,
    ) -> Result<StripNetwork<'_>> {
        let Network { model, .. } = &self.loaded.network;
        let in_file = |error: Error| match error {
            Error::Usage { detail } => {
                Error::usage(format!("{}: {detail}", self.checkpoint.display()))
            }
            other => other,
        };
        let label = self.label(asked);
        if target.class == Class::Label && label.is_none() {
            return Err(Error::usage(format!(
                "--target label: {} lies in the folder '{}', which is no class that {} or a class list names",
                asked.name,
                asked.folder,
                self.checkpoint.display()
            )));
        }
        let mut pixels = vec![0f32; model.image_elements()];
        // Evaluation draws nothing from the stream.
        self.loaded.transform().apply(
            &asked.image,
            &mut stream(0, "none").block(0),
            &mut pixels,
        )?;
        let question = MapRequest { layer: self.layer, method, target };
        let network = &self.loaded.network;
        let pair =
            saliency::pair(network, &question, &pixels, label, &asked.fault).map_err(in_file)?;
        if let Some(known) = asked.known.as_ref().filter(|known| self.is(&known.sha256)) {
            known.check(
                &asked.name,
                logits::hash(&pair.clean.logits),
                logits::hash(&pair.faulty.logits),
            )?;
        }
        Ok(StripNetwork {
            name: self.loaded.network.model.head.name().into(),
            picture: self.picture(&asked.image),
            pair,
            classes: &self.classes,
        })
    }
}
