//! Networks out of ONNX files as models.

use std::path::Path;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::checkpoint::Checkpoint;
use crate::nn::{Builder, Head, HeadNodes, LastLayer};
use crate::onnx::{NetworkEnd, OnnxFile, RecordedNetwork};
use crate::ops::Start;
use crate::tape::{NodeId, Tape};
use crate::tensor::{Map, Spec};
use crate::{Error, Result};

/// A network out of an ONNX file. Two are equal where their files are.
#[derive(Clone, Debug)]
pub struct OnnxNetwork {
    file: Arc<OnnxFile>,
}

impl PartialEq for OnnxNetwork {
    fn eq(&self, other: &OnnxNetwork) -> bool {
        self.file.sha256 == other.file.sha256
    }
}

/// As what identifies it: the file's SHA-256.
impl Serialize for OnnxNetwork {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serde_json::json!({ "sha256": self.file.sha256 }).serialize(serializer)
    }
}

/// Whether a path is that of an ONNX file, by its name.
pub fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"))
}

impl OnnxNetwork {
    /// Reads the file.
    ///
    /// # Errors
    /// Those of [`OnnxFile::open`]; images that aren't of three channels.
    pub fn open(path: &Path) -> Result<OnnxNetwork> {
        let file = OnnxFile::open(path)?;
        match file.sizes.channels {
            Some(3) => Ok(OnnxNetwork { file: Arc::new(file) }),
            channels => {
                let channels = channels.map_or("open".into(), |channels| channels.to_string());
                let detail = format!("takes images of {channels} channels; images have 3");
                Err(Error::file(path, detail))
            }
        }
    }

    /// How many classes its logits are of.
    ///
    /// # Errors
    /// Those of recording.
    pub fn classes(&self, image_size: usize) -> Result<usize> {
        Ok(self.alone(image_size)?.classes)
    }

    /// The network by itself.
    fn alone(&self, image_size: usize) -> Result<RecordedNetwork> {
        let mut tape = Tape::new();
        let image = tape.input("image", Spec::f32(Map::new(image_size, image_size, 3)));
        let mut builder = Builder { tape: &mut tape, prefix: String::new(), smooth: false };
        self.file.record(&mut builder, image)
    }

    /// The SHA-256 of the file and of what its constants lie in.
    pub fn sha256(&self) -> &str {
        &self.file.sha256
    }

    /// The side of its images, where it was exported for one size.
    ///
    /// # Errors
    /// Images that aren't square.
    pub fn image_size(&self) -> Result<Option<usize>> {
        match self.file.sizes.size {
            [Some(height), Some(width)] if height != width => {
                let detail = format!("takes images of {height}×{width}; square ones are taken");
                Err(Error::file(&self.file.path, detail))
            }
            [height, width] => Ok(height.or(width)),
        }
    }

    /// The linear layer at the end of a recorded network.
    fn last_layer(&self, ending: &NetworkEnd) -> Result<LastLayer> {
        match ending {
            NetworkEnd::Linear { name, feature, bias } => Ok(LastLayer {
                name: name.clone(),
                bias: *bias,
                start: Start::PyTorch,
                feature: *feature,
            }),
            NetworkEnd::Logits(_) => Err(Error::file(
                &self.file.path,
                "doesn't end in a linear layer of one vector, which a head of other classes, or a \
                 text-guided one, takes the place of",
            )),
        }
    }

    /// Records everything before the last layer.
    pub(super) fn record_backbone(&self, b: &mut Builder<'_>, image: NodeId) -> Result<LastLayer> {
        let recorded = self.file.record(b, image)?;
        self.last_layer(&recorded.ending)
    }

    /// Records the network with a head: its own, with `classes` classes, or a text-guided one.
    pub(super) fn record(
        &self,
        b: &mut Builder<'_>,
        image: NodeId,
        classes: usize,
        head: Head,
    ) -> Result<HeadNodes> {
        let recorded = self.file.record(b, image)?;
        match (recorded.ending, head) {
            // No layer of it gives the logits themselves.
            (NetworkEnd::Logits(logits), Head::Baseline) => {
                Ok(HeadNodes { last_layer: logits, logits })
            }
            (ending, _) => b.head(&self.last_layer(&ending)?, classes, head),
        }
    }

    /// The file's own weights, as a checkpoint of the baseline, and what there is to say of them.
    ///
    /// # Errors
    /// Those of recording.
    pub fn checkpoint(&self, image_size: usize) -> Result<(Checkpoint, Vec<String>)> {
        let recorded = self.alone(image_size)?;
        let path = &self.file.path;
        let notes = recorded.notes.iter().map(|note| format!("{}: {note}", path.display()));
        Ok((Checkpoint::of_tensors(path, &recorded.weights)?, notes.collect()))
    }
}
