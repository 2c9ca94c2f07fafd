//! Constants of a graph: n-dimensional arrays of floats, whole numbers or truth values, row-major.

use std::sync::Arc;

use super::external::External;
use super::proto;
use crate::tensor::places;

/// Elements that a constant may have that isn't in the file but computed from others.
pub const MOST_ELEMENTS: usize = 1 << 24;
/// Dimensions that an array may have.
pub const MOST_DIMS: usize = 16;

/// What is computed, or half a sentence on why it can't be.
pub type Folded<T> = Result<T, String>;

/// The elements of an [`Array`].
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// FLOAT, and the other floats rounded to it.
    Floats(Arc<[f32]>),
    /// Whole numbers of every width.
    Ints(Arc<[i64]>),
    Bools(Arc<[bool]>),
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    dims: Vec<usize>,
    elements: Elements,
}

impl Elements {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Elements::Floats(values) => values.len(),
            Elements::Ints(values) => values.len(),
            Elements::Bools(values) => values.len(),
        }
    }

    /// What they are, in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Elements::Floats(_) => "floats",
            Elements::Ints(_) => "whole numbers",
            Elements::Bools(_) => "truth values",
        }
    }

    /// Those at `places`.
    fn pick(&self, places: impl Iterator<Item = usize>) -> Elements {
        match self {
            Elements::Floats(values) => Elements::Floats(places.map(|at| values[at]).collect()),
            Elements::Ints(values) => Elements::Ints(places.map(|at| values[at]).collect()),
            Elements::Bools(values) => Elements::Bools(places.map(|at| values[at]).collect()),
        }
    }
}

/// The number of elements of a shape, where it is one that an array may have.
pub fn elements_of(dims: &[usize]) -> Folded<usize> {
    if dims.len() > MOST_DIMS {
        return Err(format!("{} dimensions are too many", dims.len()));
    }
    let product = dims.iter().try_fold(1usize, |product, dim| product.checked_mul(*dim));
    product
        .filter(|elements| *elements <= isize::MAX as usize / 8)
        .ok_or_else(|| format!("a shape of {dims:?} is too large"))
}

/// The distance in memory between neighbours along each dimension of a row-major array.
pub fn strides_of(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for dim in (1..dims.len()).rev() {
        strides[dim - 1] = strides[dim] * dims[dim];
    }
    strides
}

impl Array {
    /// An array of this shape.
    pub fn new(dims: Vec<usize>, elements: Elements) -> Folded<Array> {
        if elements_of(&dims)? != elements.len() {
            return Err(format!("{} elements aren't a shape of {dims:?}", elements.len()));
        }
        Ok(Array { dims, elements })
    }

    /// A vector of whole numbers.
    pub fn ints(values: &[i64]) -> Array {
        Array { dims: vec![values.len()], elements: Elements::Ints(values.into()) }
    }

    /// A single float.
    pub fn float(value: f32) -> Array {
        Array { dims: vec![], elements: Elements::Floats([value].into()) }
    }

    /// Floats of this shape.
    pub fn floats(dims: Vec<usize>, values: Vec<f32>) -> Folded<Array> {
        Array::new(dims, Elements::Floats(values.into()))
    }

    /// The shape.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The elements, row-major.
    pub fn elements(&self) -> &Elements {
        &self.elements
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// The values of an array of floats.
    pub fn as_floats(&self) -> Folded<&Arc<[f32]>> {
        match &self.elements {
            Elements::Floats(values) => Ok(values),
            other => Err(format!("{} stand where floats are wanted", other.kind())),
        }
    }

    /// The values of an array of whole numbers.
    pub fn as_ints(&self) -> Folded<&[i64]> {
        match &self.elements {
            Elements::Ints(values) => Ok(values),
            other => Err(format!("{} stand where whole numbers are wanted", other.kind())),
        }
    }

    /// The values of an array of truth values.
    pub fn as_bools(&self) -> Folded<&[bool]> {
        match &self.elements {
            Elements::Bools(values) => Ok(values),
            other => Err(format!("{} stand where truth values are wanted", other.kind())),
        }
    }

    /// The one float of an array of one element.
    pub fn as_float(&self) -> Option<f32> {
        match &self.elements {
            Elements::Floats(values) if values.len() == 1 => Some(values[0]),
            _ => None,
        }
    }

    /// The same elements under another shape.
    pub fn reshaped(&self, dims: Vec<usize>) -> Folded<Array> {
        Array::new(dims, self.elements.clone())
    }

    /// The elements at `places`, as an array of `dims`.
    pub fn picked(&self, dims: Vec<usize>, places: impl Iterator<Item = usize>) -> Folded<Array> {
        if elements_of(&dims)? > MOST_ELEMENTS.max(self.len()) {
            return Err(format!("a constant of {dims:?} is too large"));
        }
        Array::new(dims, self.elements.pick(places))
    }

    /// Spread to `dims` as NumPy broadcasts: sizes of 1 are repeated, missing ones stand in front.
    pub fn spread(&self, dims: &[usize]) -> Folded<Array> {
        if self.dims == dims {
            return Ok(self.clone());
        }
        let strides = spread_strides(&self.dims, dims)
            .ok_or_else(|| format!("{:?} can't be spread to {dims:?}", self.dims))?;
        self.picked(dims.to_vec(), places(dims, &strides, 0))
    }

    /// With its dimensions in another order.
    pub fn transposed(&self, order: &[usize]) -> Folded<Array> {
        let strides = strides_of(&self.dims);
        let dims: Vec<usize> = order.iter().map(|dim| self.dims[*dim]).collect();
        let strides: Vec<isize> = order.iter().map(|dim| strides[*dim] as isize).collect();
        self.picked(dims.clone(), places(&dims, &strides, 0))
    }

    /// A tensor of the file.
    pub fn read(tensor: &proto::TensorProto, external: &External) -> Folded<Array> {
        let dims = tensor.dims.iter().map(|dim| usize::try_from(*dim).ok());
        let dims: Option<Vec<usize>> = dims.collect();
        let dims = dims.ok_or_else(|| format!("has a shape of {:?}", tensor.dims))?;
        let count = elements_of(&dims)?;
        if !tensor.segment.is_empty() {
            return Err("is given in segments".into());
        }
        let outside = match tensor.data_location {
            0 if tensor.external_data.is_empty() => None,
            1 => Some(external.bytes(&tensor.external_data)?),
            other => return Err(format!("lies at the unknown location {other}")),
        };
        let raw = outside.as_ref().unwrap_or(&tensor.raw_data);
        let elements = match tensor.data_type {
            FLOAT => floats(raw, tensor.float_data.iter().copied(), f32::from_le_bytes),
            DOUBLE => {
                let fields = tensor.double_data.iter().map(|value| *value as f32);
                floats(raw, fields, |bytes| f64::from_le_bytes(bytes) as f32)
            }
            INT64 => ints(raw, tensor.int64_data.iter().copied(), i64::from_le_bytes),
            INT32 => ints(raw, small(tensor), |bytes| i32::from_le_bytes(bytes).into()),
            INT16 => ints(raw, small(tensor), |bytes| i16::from_le_bytes(bytes).into()),
            INT8 => ints(raw, small(tensor), |bytes| i8::from_le_bytes(bytes).into()),
            UINT8 => ints(raw, small(tensor), |bytes| u8::from_le_bytes(bytes).into()),
            UINT16 => ints(raw, small(tensor), |bytes| u16::from_le_bytes(bytes).into()),
            UINT32 => {
                let fields = tensor.uint64_data.iter().map(|value| *value as i64);
                ints(raw, fields, |bytes| u32::from_le_bytes(bytes).into())
            }
            BOOL => match raw.is_empty() {
                true => Some(Elements::Bools(tensor.int32_data.iter().map(|v| *v != 0).collect())),
                false => Some(Elements::Bools(raw.iter().map(|byte| *byte != 0).collect())),
            },
            other => {
                return Err(format!(
                    "is of {}, which this program doesn't compute with: export the network in float32",
                    type_name(other)
                ));
            }
        };
        let found = elements.as_ref().map_or(0, Elements::len);
        match elements {
            Some(elements) if found == count => Ok(Array { dims, elements }),
            _ => Err(format!(
                "should hold {count} elements of {}, found {found} in {} bytes",
                type_name(tensor.data_type),
                raw.len()
            )),
        }
    }
}

/// The distances in memory with which an array of `from` is read as one of `to`; `None` where it can't
/// be spread so.
pub fn spread_strides(from: &[usize], to: &[usize]) -> Option<Vec<isize>> {
    let missing = to.len().checked_sub(from.len())?;
    let strides = strides_of(from);
    let mut spread = vec![0; missing];
    for (dim, size) in from.iter().enumerate() {
        let wanted = to[missing + dim];
        match *size == wanted {
            true => spread.push(strides[dim] as isize),
            false if *size == 1 => spread.push(0),
            false => return None,
        }
    }
    Some(spread)
}

/// The shape that two are spread to.
pub fn spread_of(a: &[usize], b: &[usize]) -> Folded<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], dim: usize| (dim + dims.len()).checked_sub(rank).map(|dim| dims[dim]);
    let sizes = (0..rank).map(|dim| match (at(a, dim).unwrap_or(1), at(b, dim).unwrap_or(1)) {
        (1, size) | (size, 1) => Some(size),
        (a, b) => (a == b).then_some(a),
    });
    let sizes: Option<Vec<usize>> = sizes.collect();
    sizes.ok_or_else(|| format!("shapes {a:?} and {b:?} don't fit each other"))
}

// TensorProto.DataType.
pub const FLOAT: i32 = 1;
const UINT8: i32 = 2;
const INT8: i32 = 3;
const UINT16: i32 = 4;
const INT16: i32 = 5;
pub const INT32: i32 = 6;
pub const INT64: i32 = 7;
pub const BOOL: i32 = 9;
pub const DOUBLE: i32 = 11;
const UINT32: i32 = 12;

/// The name of a `TensorProto.DataType`, less "tensor of".
pub fn type_name(data_type: i32) -> String {
    let names = [
        "an undefined type",
        "float32",
        "uint8",
        "int8",
        "uint16",
        "int16",
        "int32",
        "int64",
        "strings",
        "bool",
        "float16",
        "float64",
        "uint32",
        "uint64",
        "complex64",
        "complex128",
        "bfloat16",
        "float8e4m3fn",
        "float8e4m3fnuz",
        "float8e5m2",
        "float8e5m2fnuz",
        "uint4",
        "int4",
        "float4e2m1",
    ];
    let name = usize::try_from(data_type).ok().and_then(|at| names.get(at));
    name.map_or_else(|| format!("the unknown type {data_type}"), |name| (*name).into())
}

fn small(tensor: &proto::TensorProto) -> impl Iterator<Item = i64> + '_ {
    tensor.int32_data.iter().map(|value| i64::from(*value))
}

/// Values of `N` bytes each, or those of the field of their own; `None` where bytes are left over.
fn values<const N: usize, T>(
    raw: &[u8],
    fields: impl Iterator<Item = T>,
    value: impl Fn([u8; N]) -> T,
) -> Option<Arc<[T]>> {
    if raw.is_empty() {
        return Some(fields.collect());
    }
    let (chunks, rest) = raw.as_chunks::<N>();
    rest.is_empty().then(|| chunks.iter().map(|bytes| value(*bytes)).collect())
}

fn floats<const N: usize>(
    raw: &[u8],
    fields: impl Iterator<Item = f32>,
    value: impl Fn([u8; N]) -> f32,
) -> Option<Elements> {
    values(raw, fields, value).map(Elements::Floats)
}

fn ints<const N: usize>(
    raw: &[u8],
    fields: impl Iterator<Item = i64>,
    value: impl Fn([u8; N]) -> i64,
) -> Option<Elements> {
    values(raw, fields, value).map(Elements::Ints)
}
