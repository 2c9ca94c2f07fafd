//! Networks out of ONNX files: what other programs export becomes a tape of the engine's own operations.
//!
//! A file is read in three steps. `proto` parses it. `read` brings its operators, of whatever version, into one
//! form, computes what constants make, and follows the shapes for one image; `simplify` puts together what
//! exporters take apart. `lower` records the rest on a tape, where reshaping and transposing are arithmetic
//! of places. What isn't understood is refused, every node of it in one error.

mod array;
mod attention;
mod attributes;
mod external;
mod fold;
mod function;
mod graph;
mod lower;
mod op;
mod proto;
mod read;
mod refusals;
mod resample;
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
pub use self::read::ImageSizes;

/// A network as its file has it.
#[derive(Debug)]
pub struct OnnxFile {
    /// Where it lies.
    pub path: PathBuf,
    model: proto::ModelProto,
    constants: HashMap<String, NamedArray>,
    external: External,
    /// SHA-256 of its bytes, and of those of the files beside it that hold its constants.
    pub sha256: String,
    /// What it says of its images.
    pub sizes: ImageSizes,
}

/// What stands on the tape of a network.
#[derive(Debug)]
pub struct RecordedNetwork {
    pub ending: NetworkEnd,
    /// The parameters' values by their names on the tape, in PyTorch's shapes. A linear layer at the end, which
    /// isn't recorded, is among them.
    pub weights: Vec<(String, HostTensor)>,
    /// The classes of its logits.
    pub classes: usize,
    /// What a user should know of it, a sentence each.
    pub notes: Vec<String>,
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
            let data = match array.as_ints() {
                Ok(values) => TensorData::I64(values.to_vec()),
                Err(_) => {
                    let values = array.as_floats();
                    let values = values.map_err(|detail| wrong(format!("{name}: {detail}")))?;
                    TensorData::F32(values.to_vec())
                }
            };
            Ok((name, HostTensor::new(array.dims().to_vec(), data)?))
        };
        let weights = lowered.weights.into_iter().map(tensor).collect::<Result<_>>()?;
        let mut notes = lowered.notes;
        if source.has_softmax {
            notes.push("its last operator is a softmax; the logits are what it reads".into());
        }
        Ok(RecordedNetwork { ending: lowered.ending, weights, classes: lowered.classes, notes })
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::proto::{
        AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetProto,
        TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
    };
    use super::*;
    use crate::tape::Tape;
    use crate::tensor::{Map, Spec};

    fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
        let dim = |size: &i64| DimensionProto { value: Some(*size), param: None };
        let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
        let tensor = Some(TensorTypeProto { elem_type: 1, shape });
        ValueInfoProto { name: name.into(), kind: Some(TypeProto { tensor }) }
    }

    fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
        NodeProto {
            op_type: operator.into(),
            input: inputs.iter().map(|name| name.to_string()).collect(),
            output: vec![output.into()],
            ..NodeProto::default()
        }
    }

    fn floats(name: &str, dims: &[i64]) -> TensorProto {
        let count = dims.iter().product::<i64>() as usize;
        let float_data = (0..count).map(|at| at as f32 / 8.0 - 1.0).collect();
        let dims = dims.to_vec();
        TensorProto { name: name.into(), dims, data_type: 1, float_data, ..TensorProto::default() }
    }

    /// A network of these nodes from `x`, images of 3×4×4, to `y`.
    fn recorded(nodes: Vec<NodeProto>, initializer: Vec<TensorProto>) -> Result<RecordedNetwork> {
        Ok(recorded_of(&[1, 3, 4, 4], nodes, initializer)?.0)
    }

    /// The same of images of `dims`, with the kinds of the tape's operations.
    fn recorded_of(
        dims: &[i64],
        nodes: Vec<NodeProto>,
        initializer: Vec<TensorProto>,
    ) -> Result<(RecordedNetwork, Vec<&'static str>)> {
        let graph = GraphProto {
            node: nodes,
            initializer,
            input: vec![value("x", dims)],
            output: vec![value("y", &[])],
            ..GraphProto::default()
        };
        let opset_import = vec![OperatorSetProto { domain: String::new(), version: 17 }];
        let model =
            ModelProto { ir_version: 8, graph: Some(graph), opset_import, ..ModelProto::default() };
        let file = OnnxFile::parse(Path::new("made.onnx"), model.encode_to_vec())?;
        let mut tape = Tape::new();
        let image = tape.input("image", Spec::f32(Map::new(4, 4, 3)));
        let mut b = Builder { tape: &mut tape, prefix: String::new(), smooth: false };
        let network = file.record(&mut b, image)?;
        let kinds = tape.nodes().iter().filter_map(|node| Some(node.op.as_ref()?.kind())).collect();
        Ok((network, kinds))
    }

    fn refused(nodes: Vec<NodeProto>, initializer: Vec<TensorProto>, parts: &[&str]) {
        let error = recorded(nodes, initializer).unwrap_err().to_string();
        for part in parts.iter().chain(&["made.onnx"]) {
            assert!(error.contains(part), "no {part} in: {error}");
        }
    }

    #[test]
    fn what_cant_be_logits_or_is_made_twice_is_refused() {
        let weight = || vec![floats("w", &[2, 3, 1, 1])];
        refused(vec![node("Conv", &["x", "w"], "y")], weight(), &["[1, 2, 4, 4]", "logits"]);
        refused(
            vec![
                node("Conv", &["x", "w"], "c"),
                node("Relu", &["x"], "c"),
                node("GlobalAveragePool", &["c"], "y"),
            ],
            weight(),
            &["(Relu)", "makes c, which is there already"],
        );
        refused(vec![node("Relu", &["later"], "y")], vec![], &["reads later"]);
        refused(
            vec![node("Conv", &["x", "w", "b"], "y")],
            vec![floats("w", &[2, 3, 1, 1]), floats("b", &[3])],
            &["a bias of [3]"],
        );
        refused(vec![node("Frobnicate", &["x"], "y")], vec![], &["(Frobnicate)"]);
        let mut other = node("Relu", &["x"], "y");
        other.attribute.push(AttributeProto { name: "slope".into(), ..AttributeProto::default() });
        refused(vec![other], vec![], &["attribute slope"]);
    }

    /// TensorFlow's converters leave images as they are and turn them before the first layer: nothing moves.
    #[test]
    fn images_may_have_their_channels_last() {
        let weight = || vec![floats("w", &[5, 3, 3, 3])];
        let layers = |input: &str| {
            vec![
                node("Conv", &[input, "w"], "c"),
                node("Relu", &["c"], "r"),
                node("GlobalAveragePool", &["r"], "y"),
            ]
        };
        let mut turn = node("Transpose", &["x"], "t");
        let ints = vec![0, 3, 1, 2];
        turn.attribute.push(AttributeProto {
            name: "perm".into(),
            kind: 7,
            ints,
            ..AttributeProto::default()
        });
        let mut turned = vec![turn];
        turned.extend(layers("t"));
        let (network, kinds) = recorded_of(&[1, 4, 4, 3], turned, weight()).unwrap();
        let (_, plain) = recorded_of(&[1, 3, 4, 4], layers("x"), weight()).unwrap();
        assert_eq!((network.classes, &kinds), (5, &plain));
        assert_eq!(plain, ["conv2d", "relu", "adaptive_avg_pool"]);
    }

    #[test]
    fn a_weight_of_two_layers_is_told() {
        let nodes = vec![
            node("Conv", &["x", "w"], "a"),
            node("Conv", &["a", "w"], "b"),
            node("GlobalAveragePool", &["b"], "y"),
        ];
        let network = recorded(nodes, vec![floats("w", &[3, 3, 1, 1])]).unwrap();
        assert_eq!((network.classes, network.weights.len()), (3, 2));
        assert!(network.notes[0].contains("w is the weight of several layers"), "{network:?}");
    }

    /// A few bytes that ask for gigabytes.
    #[test]
    fn computed_constants_are_bounded_together() {
        let side = TensorProto {
            name: "side".into(),
            dims: vec![2],
            data_type: 7,
            int64_data: vec![1 << 12, 1 << 11],
            ..TensorProto::default()
        };
        let mut nodes: Vec<NodeProto> =
            (0..8).map(|at| node("ConstantOfShape", &["side"], &format!("c{at}"))).collect();
        nodes.push(node("GlobalAveragePool", &["x"], "y"));
        refused(nodes, vec![side], &["too large together"]);
    }
}
