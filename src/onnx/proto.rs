//! The messages of an ONNX file, as far as they are read: onnx.proto of ONNX 1.18, version 11 of its
//! intermediate representation. Bytes of tensors stay in the file, which is mapped into memory.

use prost::Message;
use prost::bytes::Bytes;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// A model: the graph, and the versions of the operators in it.
#[derive(Clone, PartialEq, Message)]
pub struct ModelProto {
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    #[prost(string, tag = "2")]
    pub producer_name: String,
    #[prost(string, tag = "3")]
    pub producer_version: String,
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSetProto>,
    /// Operators that the file defines itself; only whether there are any is read.
    #[prost(bytes = "bytes", repeated, tag = "25")]
    pub functions: Vec<Bytes>,
}

/// The version of a domain's operators.
#[derive(Clone, PartialEq, Message)]
pub struct OperatorSetProto {
    #[prost(string, tag = "1")]
    pub domain: String,
    #[prost(int64, tag = "2")]
    pub version: i64,
}

/// Nodes in an order in which they can be run, and what they read.
#[derive(Clone, PartialEq, Message)]
pub struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<NodeProto>,
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfoProto>,
    #[prost(bytes = "bytes", repeated, tag = "15")]
    pub sparse_initializer: Vec<Bytes>,
}

/// A call of an operator. An empty name stands for an input that is left out.
#[derive(Clone, PartialEq, Message)]
pub struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<AttributeProto>,
    #[prost(string, tag = "7")]
    pub domain: String,
    #[prost(message, repeated, tag = "9")]
    pub metadata_props: Vec<StringStringEntry>,
}

/// A named argument of a node.
#[derive(Clone, PartialEq, Message)]
pub struct AttributeProto {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(float, tag = "2")]
    pub f: f32,
    #[prost(int64, tag = "3")]
    pub i: i64,
    #[prost(bytes = "bytes", tag = "4")]
    pub s: Bytes,
    #[prost(message, optional, boxed, tag = "5")]
    pub t: Option<Box<TensorProto>>,
    /// A graph within; only that there is one is read.
    #[prost(bytes = "bytes", tag = "6")]
    pub g: Bytes,
    #[prost(float, repeated, tag = "7")]
    pub floats: Vec<f32>,
    #[prost(int64, repeated, tag = "8")]
    pub ints: Vec<i64>,
    /// Of `AttributeProto.AttributeType`; 0 in files that don't say.
    #[prost(int32, tag = "20")]
    pub kind: i32,
    #[prost(string, tag = "21")]
    pub ref_attr_name: String,
}

/// A constant. Its values lie in one of the fields, or in another file.
#[derive(Clone, PartialEq, Message)]
pub struct TensorProto {
    #[prost(int64, repeated, tag = "1")]
    pub dims: Vec<i64>,
    /// Of `TensorProto.DataType`.
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    /// Part of a larger tensor: a form that nobody writes.
    #[prost(bytes = "bytes", tag = "3")]
    pub segment: Bytes,
    #[prost(float, repeated, tag = "4")]
    pub float_data: Vec<f32>,
    #[prost(int32, repeated, tag = "5")]
    pub int32_data: Vec<i32>,
    #[prost(int64, repeated, tag = "7")]
    pub int64_data: Vec<i64>,
    #[prost(string, tag = "8")]
    pub name: String,
    #[prost(bytes = "bytes", tag = "9")]
    pub raw_data: Bytes,
    #[prost(double, repeated, tag = "10")]
    pub double_data: Vec<f64>,
    #[prost(uint64, repeated, tag = "11")]
    pub uint64_data: Vec<u64>,
    #[prost(message, repeated, tag = "13")]
    pub external_data: Vec<StringStringEntry>,
    /// 1 where the values lie in another file.
    #[prost(int32, tag = "14")]
    pub data_location: i32,
}

/// A key and its value.
#[derive(Clone, PartialEq, Message)]
pub struct StringStringEntry {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

/// Name and type of an input or output.
#[derive(Clone, PartialEq, Message)]
pub struct ValueInfoProto {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub kind: Option<TypeProto>,
}

/// A type; only tensors are read.
#[derive(Clone, PartialEq, Message)]
pub struct TypeProto {
    #[prost(message, optional, tag = "1")]
    pub tensor: Option<TensorTypeProto>,
}

/// Element type and shape.
#[derive(Clone, PartialEq, Message)]
pub struct TensorTypeProto {
    #[prost(int32, tag = "1")]
    pub elem_type: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShapeProto>,
}

/// A shape.
#[derive(Clone, PartialEq, Message)]
pub struct TensorShapeProto {
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<DimensionProto>,
}

/// A dimension: a number, or a name for one that is open.
#[derive(Clone, PartialEq, Message)]
pub struct DimensionProto {
    #[prost(int64, optional, tag = "1")]
    pub value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    pub param: Option<String>,
}

/// Messages and strings that a file may have; the largest networks have some ten thousand nodes.
const MOST_PARTS: usize = 1 << 20;

/// Messages of a kind within which others are counted: fields by number, with the kind of what lies in
/// them.
struct PartKind(&'static [(u32, &'static PartKind)]);

const LEAF: PartKind = PartKind(&[]);
const TENSOR: PartKind = PartKind(&[(13, &LEAF)]);
const ATTRIBUTE: PartKind = PartKind(&[(5, &TENSOR)]);
const NODE: PartKind = PartKind(&[(1, &LEAF), (2, &LEAF), (5, &ATTRIBUTE), (9, &LEAF)]);
const SHAPE: PartKind = PartKind(&[(1, &LEAF)]);
const TENSOR_TYPE: PartKind = PartKind(&[(2, &SHAPE)]);
const TYPE: PartKind = PartKind(&[(1, &TENSOR_TYPE)]);
const VALUE_INFO: PartKind = PartKind(&[(2, &TYPE)]);
const GRAPH: PartKind =
    PartKind(&[(1, &NODE), (5, &TENSOR), (11, &VALUE_INFO), (12, &VALUE_INFO), (15, &LEAF)]);
const MODEL: PartKind = PartKind(&[(7, &GRAPH), (8, &LEAF), (25, &LEAF)]);

/// Reads a model.
///
/// # Errors
/// Half a sentence on what is wrong with `bytes`: not a model, cut off, or of so many parts that they
/// would take far more memory than the file.
pub fn read(bytes: Bytes) -> Result<ModelProto, String> {
    let mut left = MOST_PARTS.min(bytes.len() / 3 + 64);
    count(&bytes, &MODEL, &mut left)?;
    ModelProto::decode(bytes)
        .map_err(|error| format!("isn't an ONNX model, or is damaged: {error}"))
}

/// Takes the parts of a message from those that are `left`: a part of two bytes may take hundreds once
/// it is read.
fn count(message: &[u8], kind: &PartKind, left: &mut usize) -> Result<(), String> {
    let damaged = |error| format!("isn't an ONNX model, or is damaged: {error}");
    let mut rest = message;
    while !rest.is_empty() {
        let (tag, wire) = decode_key(&mut rest).map_err(damaged)?;
        let inner = kind.0.iter().find(|(field, _)| *field == tag);
        let Some((_, inner)) = inner.filter(|_| wire == WireType::LengthDelimited) else {
            skip_field(wire, tag, &mut rest, DecodeContext::default()).map_err(damaged)?;
            continue;
        };
        let length = decode_varint(&mut rest).map_err(damaged)?;
        let length = usize::try_from(length).ok().filter(|length| *length <= rest.len());
        let Some(length) = length else {
            return Err("isn't an ONNX model, or is cut off".into());
        };
        *left = left.checked_sub(1).ok_or("has more parts than a network has")?;
        let (part, behind) = rest.split_at(length);
        // What has no parts of its own may be text.
        if !inner.0.is_empty() {
            count(part, inner, left)?;
        }
        rest = behind;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_messages_are_counted_before_they_take_memory() {
        // A graph of a million empty nodes: two bytes each.
        let nodes = [0x0a, 0x00].repeat(1 << 20);
        let mut bytes = vec![0x3a];
        prost::encoding::encode_varint(nodes.len() as u64, &mut bytes);
        bytes.extend(nodes);
        let error = read(Bytes::from(bytes)).unwrap_err();
        assert!(error.contains("more parts"), "{error}");
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let node = NodeProto { op_type: "Relu".into(), ..NodeProto::default() };
        let graph = GraphProto { node: vec![node], ..GraphProto::default() };
        let model = ModelProto { ir_version: 8, graph: Some(graph), ..ModelProto::default() };
        let bytes = model.encode_to_vec();
        assert_eq!(read(Bytes::from(bytes.clone())).unwrap(), model);
        for end in 3..bytes.len() {
            assert!(read(Bytes::copy_from_slice(&bytes[..end])).is_err(), "{end}");
        }
    }
}
