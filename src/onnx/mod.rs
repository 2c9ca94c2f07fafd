//! Networks out of ONNX files: what other programs export becomes a tape of the engine's own operations.
//!
//! A file is read in three steps. `proto` parses it. `read` brings its operators, of whatever version, into one
//! form, computes what constants make, and follows the shapes for one image; `simplify` puts together what
//! exporters take apart. `lower` records the rest on a tape, where reshaping and transposing are arithmetic
//! of places. What isn't understood is refused, every node of it in one error.

mod array;
mod attributes;
mod external;
mod fold;
mod graph;
mod lower;
mod op;
mod proto;
mod read;
mod refusals;
mod simplify;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use prost::bytes::Bytes;
use sha2::{Digest, Sha256};

use self::external::External;
use self::graph::NamedArray;
use self::read::ReadNetwork;
use crate::checkpoint::{HostTensor, TensorData};
use crate::nn::Builder;
use crate::tape::NodeId;
use crate::{Error, Result};

pub use self::lower::NetworkEnd;

/// A network as its file has it.
#[derive(Debug)]
pub struct OnnxFile {
    path: PathBuf,
    model: proto::ModelProto,
    constants: HashMap<String, NamedArray>,
    external: External,
    sha256: String,
    /// Channels, height and width of its images, as far as it says.
    sizes: [Option<usize>; 3],
}

/// What stands on the tape of a network.
#[derive(Debug)]
pub struct RecordedNetwork {
    pub ending: NetworkEnd,
    /// The parameters' values by their names on the tape, in PyTorch's shapes. A linear layer at the end, which
    /// isn't recorded, is among them.
    pub weights: Vec<(String, HostTensor)>,
    /// Whether a softmax of the logits was the file's output.
    pub has_softmax: bool,
}

impl OnnxFile {
    /// Reads a file and its constants; the files beside it in which those may lie, too.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::File`] for what isn't an ONNX model of one image input and one output, or is
    /// damaged.
    pub fn open(path: &Path) -> Result<OnnxFile> {
        OnnxFile::over(path, external::map(path)?)
    }

    /// Reads a file that is in memory already; `path` is what errors call it, and beside it other files are
    /// looked for.
    ///
    /// # Errors
    /// As [`OnnxFile::open`].
    pub fn parse(path: &Path, bytes: impl Into<Vec<u8>>) -> Result<OnnxFile> {
        OnnxFile::over(path, Bytes::from(bytes.into()))
    }

    fn over(path: &Path, bytes: Bytes) -> Result<OnnxFile> {
        let wrong = |detail: String| Error::file(path, detail);
        if bytes.is_empty() {
            return Err(wrong("the file is empty".into()));
        }
        let external = External::beside(path);
        let model = proto::read(bytes.clone()).map_err(wrong)?;
        let constants = read::constants(&model, &external).map_err(wrong)?;
        let image = read::image(&model, &constants).map_err(wrong)?;
        let sizes = read::image_sizes(image).map_err(wrong)?;
        let mut digest = Sha256::new();
        digest.update(&bytes);
        external.each(|bytes| digest.update(bytes));
        let sha256 = format!("{:x}", digest.finalize());
        Ok(OnnxFile { path: path.into(), model, constants, external, sha256, sizes })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of its bytes, and of those of the files beside it that hold its constants.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Height and width of its images, where it was exported for one size.
    pub fn image_size(&self) -> [Option<usize>; 2] {
        [self.sizes[1], self.sizes[2]]
    }

    /// Channels of its images.
    pub fn channels(&self) -> Option<usize> {
        self.sizes[0]
    }

    /// Records the network behind `image`, but for a linear layer at its end.
    ///
    /// # Errors
    /// [`Error::File`] with each node that isn't understood, or that the engine has no operation for, and
    /// the reason; images of another size than it was exported for.
    pub fn record(&self, b: &mut Builder<'_>, image: NodeId) -> Result<RecordedNetwork> {
        let wrong = |detail: String| Error::file(&self.path, detail);
        let map = b.map(image);
        let size = [map.height, map.width];
        let source: ReadNetwork =
            read::read(&self.model, &self.constants, &self.external, size).map_err(wrong)?;
        let lowered = lower::record(&source, b, image).map_err(wrong)?;
        let tensor = |(name, array): (String, array::Array)| {
            let values = array.as_floats().map_err(|detail| wrong(format!("{name}: {detail}")))?;
            Ok((name, HostTensor::new(array.dims().to_vec(), TensorData::F32(values.to_vec()))?))
        };
        let weights = lowered.weights.into_iter().map(tensor).collect::<Result<_>>()?;
        Ok(RecordedNetwork { ending: lowered.ending, weights, has_softmax: source.has_softmax })
    }
}
