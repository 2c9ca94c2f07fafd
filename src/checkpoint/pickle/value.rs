//! What a pickle can become here: plain values, and descriptions of tensors. Nothing is called.

use super::super::Parsed;
use super::super::quote;
use super::super::tensor::Dtype;
use super::{AllowedNames, Budget};

/// Bytes of a container's place in the arena. A vector doubles as it grows, and the old one may stand beside
/// the new one for a moment: three times its elements is what it may take.
const NODE: usize = 3 * size_of::<PickleNode<'_>>();

/// A pickled value. It is small and copied freely: containers stand in an [`Arena`], so that
/// shared and even cyclic values need no recursion anywhere.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits, as little-endian two's complement.
    Long(&'a [u8]),
    Float,
    Str(&'a str),
    Bytes(&'a [u8]),
    Global(Global),
    /// An object of an allowed class that holds nothing of interest to a checkpoint.
    Inert,
    Node(PickleNodeId),
}

/// The place of a container in its [`Arena`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct PickleNodeId(u32);

/// A container, or what was rebuilt from one.
#[derive(Debug)]
pub(in super::super) enum PickleNode<'a> {
    Tuple(Vec<Value<'a>>),
    List(Vec<Value<'a>>),
    /// Pairs in the order of insertion, a key perhaps more than once.
    Dict(Vec<(Value<'a>, Value<'a>)>),
    Storage(Box<StorageRef<'a>>),
    Tensor(Box<TensorRef<'a>>),
    /// Bytes that the pickle spells as text.
    Bytes(Vec<u8>),
    /// NumPy's type of unsigned bytes, the only one that is read.
    ByteType,
    Array(Box<ArrayRef<'a>>),
}

impl PickleNode<'_> {
    /// Bytes of memory behind it.
    pub fn bytes(&self) -> usize {
        match self {
            PickleNode::Tuple(items) | PickleNode::List(items) => size_of_val(items.as_slice()),
            PickleNode::Dict(pairs) => size_of_val(pairs.as_slice()),
            PickleNode::Storage(storage) => size_of_val(&**storage),
            PickleNode::Tensor(tensor) => size_of_val(&**tensor) + 16 * tensor.shape.len(),
            PickleNode::Bytes(bytes) => bytes.len(),
            PickleNode::ByteType => 0,
            PickleNode::Array(array) => size_of_val(&**array) + 8 * array.shape.len(),
        }
    }
}

/// A storage that lies outside the pickle: `len` elements, of which `view` may name a part.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct StorageRef<'a> {
    pub key: &'a str,
    pub dtype: Dtype,
    pub len: usize,
    /// Offset and length in elements, for the views of the format before PyTorch 1.6.
    pub view: Option<(usize, usize)>,
}

/// A tensor over a storage; offset and strides count elements.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct TensorRef<'a> {
    pub storage: StorageRef<'a>,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
    /// Whether the values are the negatives of what is stored (PyTorch's neg bit).
    pub negated: bool,
}

/// A number of elements.
pub(super) fn count(value: Value<'_>) -> Option<usize> {
    match value {
        Value::Int(n) => usize::try_from(n).ok(),
        _ => None,
    }
}

/// The containers of one pickle.
#[derive(Debug, Default)]
pub(in super::super) struct Arena<'a>(Vec<PickleNode<'a>>);

impl<'a> Arena<'a> {
    /// Adds a container, paid for with what it holds already.
    pub fn add(&mut self, node: PickleNode<'a>, budget: &mut Budget) -> Parsed<Value<'a>> {
        budget.charge(NODE + node.bytes())?;
        let id = PickleNodeId(self.0.len() as u32);
        self.0.push(node);
        Ok(Value::Node(id))
    }

    pub fn get(&self, value: Value<'a>) -> Option<&PickleNode<'a>> {
        match value {
            Value::Node(PickleNodeId(id)) => self.0.get(id as usize),
            _ => None,
        }
    }

    pub fn get_mut(&mut self, value: Value<'a>) -> Option<&mut PickleNode<'a>> {
        match value {
            Value::Node(PickleNodeId(id)) => self.0.get_mut(id as usize),
            _ => None,
        }
    }

    /// Every container, in the order of their making.
    pub fn nodes(&self) -> impl Iterator<Item = &PickleNode<'a>> {
        self.0.iter()
    }

    pub fn tuple(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        match self.get(value)? {
            PickleNode::Tuple(items) => Some(items),
            _ => None,
        }
    }

    pub fn dict(&self, value: Value<'a>) -> Option<&[(Value<'a>, Value<'a>)]> {
        match self.get(value)? {
            PickleNode::Dict(pairs) => Some(pairs),
            _ => None,
        }
    }

    pub fn tensor(&self, value: Value<'a>) -> Option<&TensorRef<'a>> {
        match self.get(value)? {
            PickleNode::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The bytes that `value` is; Python 2 has one type for them and for text.
    pub fn bytes(&self, value: Value<'a>) -> Option<&[u8]> {
        match (value, self.get(value)) {
            (Value::Bytes(bytes), _) => Some(bytes),
            (Value::Str(text), _) => Some(text.as_bytes()),
            (_, Some(PickleNode::Bytes(bytes))) => Some(bytes),
            _ => None,
        }
    }

    /// What `value` is, in a word or two for an error.
    pub fn kind(&self, value: Value<'a>) -> &'static str {
        match value {
            Value::None => "None",
            Value::Bool(_) => "a bool",
            Value::Int(_) | Value::Long(_) => "an int",
            Value::Float => "a float",
            Value::Str(_) => "a str",
            Value::Bytes(_) => "bytes",
            Value::Global(_) => "a class or function",
            Value::Inert => "an object",
            Value::Node(_) => match self.get(value) {
                Some(PickleNode::Tuple(_)) => "a tuple",
                Some(PickleNode::List(_)) => "a list",
                Some(PickleNode::Dict(_)) => "a dict",
                Some(PickleNode::Storage(_)) => "a bare storage",
                Some(PickleNode::Tensor(_)) => "a tensor",
                Some(PickleNode::Bytes(_)) => "bytes",
                Some(PickleNode::ByteType) => "an element type",
                Some(PickleNode::Array(_)) => "an array",
                None => "nothing",
            },
        }
    }
}

/// The allow-list: every class and function that a checkpoint may name. Each is carried out by
/// this crate as a description of data; whatever else is named is refused by [`Global::find`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Global {
    /// `OrderedDict` and `dict`.
    Dict,
    DefaultDict,
    RebuildTensor,
    RebuildTensorV2,
    RebuildParameter,
    RebuildParameterWithState,
    Size,
    Storage(Dtype),
    /// What makes NumPy's arrays, where [arrays are read](AllowedNames::Arrays).
    Numpy(NumpyName),
    /// What stands beside the weights in training checkpoints, see [`is_inert`].
    Inert,
}

impl Global {
    /// The meaning of `module.name`, or the sentence that refuses it.
    pub fn find(names: AllowedNames, module: &str, name: &str) -> Parsed<Global> {
        if names == AllowedNames::Arrays {
            return NumpyName::find(module, name).map(Global::Numpy);
        }
        let global = match (module, name) {
            ("collections", "OrderedDict") | ("builtins" | "__builtin__", "dict") => Global::Dict,
            ("collections", "defaultdict") => Global::DefaultDict,
            ("torch._utils", "_rebuild_tensor") => Global::RebuildTensor,
            ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensorV2,
            ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
            ("torch._utils", "_rebuild_parameter_with_state") => Global::RebuildParameterWithState,
            ("torch", "Size") => Global::Size,
            ("torch" | "torch.storage", name) if name.ends_with("Storage") => {
                match storage_dtype(name) {
                    Some(dtype) => Global::Storage(dtype),
                    None => return Err(refusal(module, name)),
                }
            }
            _ if is_inert(module, name) => Global::Inert,
            _ => return Err(refusal(module, name)),
        };
        Ok(global)
    }
}

/// A class or function that makes arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum NumpyName {
    Reconstruct,
    FromBuffer,
    ArrayClass,
    ElementType,
    Encode,
}

impl NumpyName {
    /// The meaning of `module.name`, or the sentence that refuses it.
    pub fn find(module: &str, name: &str) -> Parsed<NumpyName> {
        Ok(match (module, name) {
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => {
                NumpyName::Reconstruct
            }
            ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => NumpyName::FromBuffer,
            ("numpy", "ndarray") => NumpyName::ArrayClass,
            ("numpy", "dtype") => NumpyName::ElementType,
            ("_codecs", "encode") => NumpyName::Encode,
            _ => {
                let asked = quote(&format!("{module}.{name}"));
                return Err(format!(
                    "the file asks for {asked}, which is refused; nothing was executed (only NumPy's arrays \
                     of bytes are read)"
                ));
            }
        })
    }
}

/// An array of unsigned bytes, which has no data until the opcode BUILD sets its state.
#[derive(Debug)]
pub(in super::super) struct ArrayRef<'a> {
    pub shape: Vec<usize>,
    /// Whether the first place counts fastest (Fortran's order), rather than the last.
    pub by_columns: bool,
    /// Bytes, or the text that Python 2 had for them.
    pub data: Option<Value<'a>>,
}

/// Classes and functions whose "results" are opaque objects, their contents dropped: a run's
/// arguments or configuration, a scheduler's milestones, an accuracy that is a NumPy scalar (a dtype
/// and bytes, which Python 2's protocols hand over as text to be encoded).
fn is_inert(module: &str, name: &str) -> bool {
    match module {
        "argparse" => name == "Namespace",
        "yacs.config" => name == "CfgNode",
        "collections" => name == "Counter",
        "builtins" | "__builtin__" => matches!(name, "set" | "list" | "int" | "float"),
        "torch" => {
            matches!(name, "device" | "float32" | "float64" | "float16" | "bfloat16" | "int64")
        }
        "pathlib" | "pathlib._local" => matches!(name, "PosixPath" | "WindowsPath"),
        "_codecs" => name == "encode",
        "numpy" => matches!(name, "dtype" | "ndarray"),
        "numpy.core.multiarray" | "numpy._core.multiarray" => {
            matches!(name, "scalar" | "_reconstruct")
        }
        _ => false,
    }
}

fn storage_dtype(name: &str) -> Option<Dtype> {
    Some(match name {
        "FloatStorage" => Dtype::F32,
        "DoubleStorage" => Dtype::F64,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::Bool,
        _ => return None,
    })
}

fn refusal(module: &str, name: &str) -> String {
    let asked = quote(&format!("{module}.{name}"));
    let advice = match (unread_tensor(module, name), is_network(module)) {
        (Some(kind), _) => format!("that makes {kind}, which isn't read"),
        (None, true) => "it holds a whole model: save model.state_dict() instead".into(),
        (None, false) => "save the state dict alone: torch.save(model.state_dict(), FILE)".into(),
    };
    format!("the file asks for {asked}, which is refused; nothing was executed ({advice})")
}

/// Whether classes of a Python module are networks, as `torch.save(model)` names them.
fn is_network(module: &str) -> bool {
    let inside = |package: &str| {
        module.strip_prefix(package).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    (inside("torch.nn") && !inside("torch.nn.parameter"))
        || ["torchvision.models", "timm.models", "__torch__"].into_iter().any(inside)
}

/// What PyTorch makes of a function or storage that isn't read here, where that is a tensor.
fn unread_tensor(module: &str, name: &str) -> Option<&'static str> {
    Some(match (module, name) {
        ("torch._utils", "_rebuild_qtensor") => "a quantized tensor",
        ("torch._utils", "_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor") => {
            "a sparse tensor"
        }
        ("torch._utils", "_rebuild_nested_tensor") => "a nested tensor",
        ("torch._utils", "_rebuild_meta_tensor_no_storage") => {
            "a tensor without values (device meta)"
        }
        ("torch._utils", "_rebuild_tensor_v3") => {
            "a tensor of an element type beyond PyTorch's older ones"
        }
        ("torch._utils", name) if name.starts_with("_rebuild_device_tensor") => {
            "a tensor of a device that has no storage"
        }
        ("torch._utils", "_rebuild_wrapper_subclass")
        | ("torch._tensor", "_rebuild_from_type" | "_rebuild_from_type_v2") => {
            "a tensor of a subclass, or one with attributes"
        }
        ("torch", "ComplexFloatStorage" | "ComplexDoubleStorage") => "a complex tensor",
        ("torch", name) if name.starts_with('Q') && name.ends_with("Storage") => {
            "a quantized tensor"
        }
        _ => return None,
    })
}
