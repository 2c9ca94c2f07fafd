//! Tensors in host memory as checkpoints hold them: a shape, an element type, row-major values.

use strum::{EnumDiscriminants, EnumString, IntoStaticStr};

use crate::number::Format;
use crate::{Error, Result};

// Elements are viewed as bytes and written as they lie in memory; the formats are little-endian.
const _: () = assert!(cfg!(target_endian = "little"), "flipside needs a little-endian machine");

impl Dtype {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Dtype::F64 | Dtype::I64 => 8,
            Dtype::F32 | Dtype::I32 => 4,
            Dtype::F16 | Dtype::BF16 | Dtype::I16 => 2,
            Dtype::I8 | Dtype::U8 | Dtype::Bool => 1,
        }
    }
}

/// The values of a [`HostTensor`]. Half-precision values are kept as their bits.
#[derive(Clone, Debug, PartialEq, EnumDiscriminants)]
#[strum_discriminants(name(Dtype), doc = "The element types that a checkpoint can hold.")]
#[strum_discriminants(derive(Hash, EnumString, IntoStaticStr))]
#[strum_discriminants(strum(serialize_all = "UPPERCASE"))]
pub enum TensorData {
    F64(Vec<f64>),
    F32(Vec<f32>),
    F16(Vec<u16>),
    BF16(Vec<u16>),
    I64(Vec<i64>),
    I32(Vec<i32>),
    I16(Vec<i16>),
    I8(Vec<i8>),
    U8(Vec<u8>),
    Bool(Vec<bool>),
}

/// Runs one expression for whichever vector a [`TensorData`] holds.
macro_rules! each_vec {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            TensorData::F64($v) => $body,
            TensorData::F32($v) => $body,
            TensorData::F16($v) => $body,
            TensorData::BF16($v) => $body,
            TensorData::I64($v) => $body,
            TensorData::I32($v) => $body,
            TensorData::I16($v) => $body,
            TensorData::I8($v) => $body,
            TensorData::U8($v) => $body,
            TensorData::Bool($v) => $body,
        }
    };
}

/// Calls the macro `$decode` with the Rust type of a [`Dtype`]; it gives a vector of that type.
macro_rules! decode_as {
    ($dtype:expr, $decode:ident) => {
        match $dtype {
            Dtype::F64 => TensorData::F64($decode!(f64)),
            Dtype::F32 => TensorData::F32($decode!(f32)),
            Dtype::F16 => TensorData::F16($decode!(u16)),
            Dtype::BF16 => TensorData::BF16($decode!(u16)),
            Dtype::I64 => TensorData::I64($decode!(i64)),
            Dtype::I32 => TensorData::I32($decode!(i32)),
            Dtype::I16 => TensorData::I16($decode!(i16)),
            Dtype::I8 => TensorData::I8($decode!(i8)),
            Dtype::U8 => TensorData::U8($decode!(u8)),
            Dtype::Bool => TensorData::Bool($decode!(u8).into_iter().map(|b| b != 0).collect()),
        }
    };
}

impl TensorData {
    /// Number of elements.
    pub fn len(&self) -> usize {
        each_vec!(self, v => v.len())
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element type.
    pub fn dtype(&self) -> Dtype {
        self.into()
    }

    /// The elements as little-endian bytes, in order.
    pub fn as_bytes(&self) -> &[u8] {
        each_vec!(self, v => bytemuck::cast_slice(v))
    }

    /// Decodes packed little-endian elements of any alignment; a rest shorter than one element is
    /// ignored. A boolean is true when its byte isn't zero.
    pub(super) fn from_bytes(dtype: Dtype, bytes: &[u8]) -> TensorData {
        macro_rules! decode {
            ($t:ty) => {{
                let whole = bytes.len() / size_of::<$t>() * size_of::<$t>();
                bytemuck::pod_collect_to_vec::<u8, $t>(&bytes[..whole])
            }};
        }
        decode_as!(dtype, decode)
    }

    /// Decodes the elements at `places`, counted in elements from the start of `bytes`.
    pub(super) fn gather(
        dtype: Dtype,
        bytes: &[u8],
        big_endian: bool,
        places: impl ExactSizeIterator<Item = usize>,
    ) -> TensorData {
        macro_rules! decode {
            ($t:ty) => {{
                let elements = places.map(|at| {
                    let mut element = [0; size_of::<$t>()];
                    element.copy_from_slice(&bytes[at * size_of::<$t>()..][..size_of::<$t>()]);
                    match big_endian {
                        true => <$t>::from_be_bytes(element),
                        false => <$t>::from_le_bytes(element),
                    }
                });
                elements.collect::<Vec<$t>>()
            }};
        }
        decode_as!(dtype, decode)
    }

    /// Puts the negative in each value's place: the sign bit of floats is flipped, integers wrap.
    /// Booleans, which have none, stay.
    pub(super) fn negate(&mut self) {
        match self {
            TensorData::F64(v) => v.iter_mut().for_each(|x| *x = -*x),
            TensorData::F32(v) => v.iter_mut().for_each(|x| *x = -*x),
            TensorData::F16(v) | TensorData::BF16(v) => v.iter_mut().for_each(|x| *x ^= 0x8000),
            TensorData::I64(v) => v.iter_mut().for_each(|x| *x = x.wrapping_neg()),
            TensorData::I32(v) => v.iter_mut().for_each(|x| *x = x.wrapping_neg()),
            TensorData::I16(v) => v.iter_mut().for_each(|x| *x = x.wrapping_neg()),
            TensorData::I8(v) => v.iter_mut().for_each(|x| *x = x.wrapping_neg()),
            TensorData::U8(v) => v.iter_mut().for_each(|x| *x = x.wrapping_neg()),
            TensorData::Bool(_) => {}
        }
    }

    /// The values as f32: exact for f32, f16, bf16, small integers and booleans; rounded to
    /// nearest even otherwise, with f64 beyond the range of f32 becoming infinite.
    pub fn to_f32(&self) -> Vec<f32> {
        match self {
            TensorData::F64(v) => v.iter().map(|&x| x as f32).collect(),
            TensorData::F32(v) => v.clone(),
            TensorData::F16(v) => widened(Format::F16, v),
            TensorData::BF16(v) => widened(Format::Bf16, v),
            TensorData::I64(v) => v.iter().map(|&x| x as f32).collect(),
            TensorData::I32(v) => v.iter().map(|&x| x as f32).collect(),
            TensorData::I16(v) => v.iter().map(|&x| f32::from(x)).collect(),
            TensorData::I8(v) => v.iter().map(|&x| f32::from(x)).collect(),
            TensorData::U8(v) => v.iter().map(|&x| f32::from(x)).collect(),
            TensorData::Bool(v) => v.iter().map(|&x| f32::from(u8::from(x))).collect(),
        }
    }

    /// As [`to_f32`](TensorData::to_f32), without a copy of what is f32 already.
    pub fn into_f32(self) -> Vec<f32> {
        match self {
            TensorData::F32(v) => v,
            other => other.to_f32(),
        }
    }
}

fn widened(format: Format, values: &[u16]) -> Vec<f32> {
    values.iter().map(|bits| format.decode(u32::from(*bits))).collect()
}

/// A tensor in host memory: row-major and contiguous, dimensions in PyTorch's order.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// The dimensions, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// As many values as the product of `shape`.
    pub data: TensorData,
}

impl HostTensor {
    /// A tensor of `data`; an [`Error::Shape`] when their number isn't that of `shape`.
    pub fn new(shape: impl Into<Vec<usize>>, data: TensorData) -> Result<HostTensor> {
        let shape = shape.into();
        if element_count(&shape) != Some(data.len()) {
            let detail = format!("shape {shape:?} doesn't fit {} values", data.len());
            return Err(Error::shape("host tensor", detail));
        }
        Ok(HostTensor { shape, data })
    }

    /// The values as f32, see [`TensorData::to_f32`].
    pub fn to_f32(&self) -> Vec<f32> {
        self.data.to_f32()
    }

    /// The element type.
    pub fn dtype(&self) -> Dtype {
        self.data.dtype()
    }
}

/// A borrowed tensor to be written: little-endian bytes with a shape and an element type.
#[derive(Clone, Debug)]
pub struct TensorView<'a> {
    pub(super) shape: Vec<usize>,
    pub(super) dtype: Dtype,
    pub(super) bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// A view of f32 values in row-major order.
    pub fn f32(shape: &[usize], values: &'a [f32]) -> TensorView<'a> {
        TensorView { shape: shape.to_vec(), dtype: Dtype::F32, bytes: bytemuck::cast_slice(values) }
    }

    /// A view of i64 values in row-major order.
    pub fn i64(shape: &[usize], values: &'a [i64]) -> TensorView<'a> {
        TensorView { shape: shape.to_vec(), dtype: Dtype::I64, bytes: bytemuck::cast_slice(values) }
    }
}

impl<'a> From<&'a HostTensor> for TensorView<'a> {
    fn from(tensor: &'a HostTensor) -> Self {
        let HostTensor { shape, data } = tensor;
        TensorView { shape: shape.clone(), dtype: data.dtype(), bytes: data.as_bytes() }
    }
}

/// The product of `shape`, or none where it overflows.
pub(super) fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |count, &n| count.checked_mul(n))
}
