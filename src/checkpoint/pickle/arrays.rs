//! NumPy's arrays of bytes, as Python's pickles describe them.
//!
//! | name | what becomes of it |
//! |---|---|
//! | `numpy.core.multiarray._reconstruct(ndarray, (0,), b"b")` | an array to be built; `numpy._core` since NumPy 2 |
//! | its state: version, shape, element type, Fortran's order, bytes | shape and bytes |
//! | `numpy.core.numeric._frombuffer(bytes, type, shape, order)` | the same in one call, since protocol 5 |
//! | `numpy.dtype("u1", …)` and its state | the type of unsigned bytes; every other is refused |
//! | `_codecs.encode(text, "latin1")` | bytes, as Python 3 spells them in protocol 2 |

use super::super::{Parsed, quote};
use super::Budget;
use super::value::{Arena, ArrayRef, NumpyName, PickleNode, Value, count};

/// NumPy's own limit on the number of dimensions.
const MOST_DIMS: usize = 64;

/// The value of a call.
pub(super) fn call<'a>(
    arena: &mut Arena<'a>,
    budget: &mut Budget,
    name: NumpyName,
    args: Value<'a>,
) -> Parsed<Value<'a>> {
    let args = arena.tuple(args).unwrap_or_default();
    let unknown = || "its pickle makes an array in an unknown way".to_string();
    let node = match (name, args) {
        (NumpyName::Reconstruct, [_, _, _]) => PickleNode::Array(Box::new(ArrayRef {
            shape: Vec::new(),
            by_columns: false,
            data: None,
        })),
        (NumpyName::FromBuffer, &[data, element, shape, order]) => {
            let by_columns = match order {
                Value::Str("C") => false,
                Value::Str("F") => true,
                _ => return Err(unknown()),
            };
            let array = array(arena, shape, element, data)?;
            PickleNode::Array(Box::new(ArrayRef { by_columns, ..array }))
        }
        (NumpyName::ElementType, [code, ..]) => match code {
            Value::Str("u1" | "|u1" | "uint8") => PickleNode::ByteType,
            Value::Str(code) => {
                return Err(format!(
                    "it holds an array of element type {}; only bytes (u1) are read",
                    quote(code)
                ));
            }
            _ => return Err(unknown()),
        },
        (NumpyName::Encode, [Value::Str(text), Value::Str("latin1" | "latin-1")]) => {
            let byte = |c: char| u8::try_from(u32::from(c)).ok();
            let bytes: Option<Vec<u8>> = text.chars().map(byte).collect();
            PickleNode::Bytes(bytes.ok_or("its pickle holds bytes above 255")?)
        }
        _ => return Err(unknown()),
    };
    arena.add(node, budget)
}

/// Gives an array or an element type its state; false for other objects.
pub(super) fn build<'a>(
    arena: &mut Arena<'a>,
    object: Value<'a>,
    state: Value<'a>,
) -> Parsed<bool> {
    let unknown = || "its pickle gives an array an unknown state".to_string();
    match arena.get(object) {
        // Version, byte order, no part of a record, size and alignment by the type, flags.
        Some(PickleNode::ByteType) => match arena.tuple(state) {
            Some([Value::Int(_), Value::Str(_), Value::None, Value::None, Value::None, ..]) => {
                Ok(true)
            }
            _ => Err(unknown()),
        },
        Some(PickleNode::Array(built)) if built.data.is_some() => Err(unknown()),
        Some(PickleNode::Array(_)) => {
            let Some(&[Value::Int(1), shape, element, is_fortran, data]) = arena.tuple(state)
            else {
                return Err(unknown());
            };
            let by_columns = match is_fortran {
                Value::Bool(flag) => flag,
                Value::Int(flag @ (0 | 1)) => flag == 1,
                _ => return Err(unknown()),
            };
            let state = ArrayRef { by_columns, ..array(arena, shape, element, data)? };
            if let Some(PickleNode::Array(empty)) = arena.get_mut(object) {
                **empty = state;
            }
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// An array of a shape over its bytes.
fn array<'a>(
    arena: &Arena<'a>,
    shape: Value<'a>,
    element: Value<'a>,
    data: Value<'a>,
) -> Parsed<ArrayRef<'a>> {
    if !matches!(arena.get(element), Some(PickleNode::ByteType)) {
        return Err("it holds an array of an unknown element type".into());
    }
    let dims = arena.tuple(shape).filter(|dims| dims.len() <= MOST_DIMS);
    let shape: Option<Vec<usize>> =
        dims.and_then(|dims| dims.iter().map(|&dim| count(dim)).collect());
    let shape = shape.ok_or("it holds an array of an impossible shape")?;
    let elements = shape.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
    let bytes = arena.bytes(data).ok_or("it holds an array without bytes")?;
    if elements != Some(bytes.len()) {
        return Err(format!("it holds an array of shape {shape:?} over {} bytes", bytes.len()));
    }
    Ok(ArrayRef { shape, by_columns: false, data: Some(data) })
}
