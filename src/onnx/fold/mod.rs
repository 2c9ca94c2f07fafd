//! Operators on constants.

mod functions;
mod layers;

use std::sync::Arc;

use self::functions::{binary, unary};
use self::layers::{conv, product, softmax};
use super::array::{Array, Elements, Folded, MOST_ELEMENTS, elements_of, strides_of};
use super::op::{Operator, Reduction};
use super::resample;
use crate::tensor::places;

/// What an operator makes of constants.
///
/// # Errors
/// Why that can't be said before the network runs.
pub fn compute(op: &Operator, inputs: &[Option<&Array>]) -> Folded<Array> {
    let input = |at: usize| -> Folded<&Array> {
        inputs.get(at).copied().flatten().ok_or_else(|| "an input is missing".into())
    };
    let x = input(0)?;
    let dims = {
        let all: Vec<&[usize]> =
            inputs.iter().map(|input| input.map_or(&[][..], Array::dims)).collect();
        op.dims(&all)?
    };
    if elements_of(&dims)? > MOST_ELEMENTS.max(x.len()) {
        return Err(format!("a constant of {dims:?} is too large"));
    }
    let strides = || strides_of(x.dims());
    match op {
        Operator::Reshape { .. } => x.reshaped(dims),
        Operator::Transpose { order } => x.transposed(order),
        Operator::Expand { .. } => x.spread(&dims),
        Operator::Unary(function) => unary(*function, x),
        Operator::Binary(function) => binary(*function, x, input(1)?),
        Operator::MatMul => product(x, input(1)?),
        Operator::Slice { cuts } => {
            let strides = strides();
            let cuts = || cuts.iter().zip(&strides);
            let start = cuts().map(|(cut, stride)| cut.start * stride).sum();
            let steps: Vec<isize> =
                cuts().map(|(cut, stride)| cut.step * *stride as isize).collect();
            x.picked(dims.clone(), places(&dims, &steps, start))
        }
        Operator::Take { axis, indices } | Operator::PadFrom { axis, indices } => {
            let mut strides: Vec<isize> = strides().iter().map(|stride| *stride as isize).collect();
            let along = strides[*axis] as usize;
            strides[*axis] = 0;
            let size = indices.len();
            let inner: usize = dims[*axis + 1..].iter().product();
            let at = places(&dims, &strides, 0).enumerate();
            let at = at.map(|(i, place)| place + indices[i / inner.max(1) % size] * along);
            x.picked(dims.clone(), at)
        }
        Operator::Concat { axis } => concat(*axis, dims, inputs),
        Operator::Reduce { reduction, axes, .. } => reduce(*reduction, axes, dims, x),
        Operator::Where => {
            let (a, b) = (input(1)?.spread(&dims)?, input(2)?.spread(&dims)?);
            let condition = x.spread(&dims)?;
            let condition = condition.as_bools()?;
            let elements = match (a.elements(), b.elements()) {
                (Elements::Floats(a), Elements::Floats(b)) => {
                    Elements::Floats(chosen(condition, a, b))
                }
                (Elements::Ints(a), Elements::Ints(b)) => Elements::Ints(chosen(condition, a, b)),
                (a, b) => return Err(format!("{} and {} don't go together", a.kind(), b.kind())),
            };
            Array::new(dims, elements)
        }
        Operator::Pad { before, value, .. } => pad(x, before, *value, dims),
        Operator::Softmax { axis, log } => softmax(x, *axis, *log),
        Operator::Resize { sampling, rows, columns } => {
            resample::resized(x, *sampling, [rows, columns])
        }
        Operator::Conv { window, groups } => conv(window, *groups, inputs, dims),
        Operator::BatchNorm { .. }
        | Operator::LayerNorm { .. }
        | Operator::GroupNorm { .. }
        | Operator::MaxPool { .. }
        | Operator::Attention { .. }
        | Operator::AvgPool { .. } => Err("reads constants alone".into()),
    }
}

fn chosen<T: Copy>(condition: &[bool], a: &[T], b: &[T]) -> Arc<[T]> {
    let pairs = condition.iter().zip(a.iter().zip(b));
    pairs.map(|(first, (a, b))| if *first { *a } else { *b }).collect()
}

fn concat(axis: usize, dims: Vec<usize>, inputs: &[Option<&Array>]) -> Folded<Array> {
    let outer: usize = dims[..axis].iter().product();
    let inner: usize = dims[axis + 1..].iter().product();
    let arrays: Option<Vec<&Array>> = inputs.iter().copied().collect();
    let arrays = arrays.ok_or("an input is missing")?;
    macro_rules! joined {
        ($values:ident, $kind:path) => {{
            let mut all = Vec::with_capacity(dims.iter().product());
            for at in 0..outer {
                for array in &arrays {
                    let run = array.dims()[axis] * inner;
                    all.extend_from_slice(&array.$values()?[at * run..][..run]);
                }
            }
            $kind(all.into())
        }};
    }
    let elements = match arrays[0].elements() {
        Elements::Floats(_) => joined!(as_floats, Elements::Floats),
        Elements::Ints(_) => joined!(as_ints, Elements::Ints),
        Elements::Bools(_) => joined!(as_bools, Elements::Bools),
    };
    Array::new(dims, elements)
}

fn reduce(reduction: Reduction, axes: &[usize], dims: Vec<usize>, x: &Array) -> Folded<Array> {
    let strides = strides_of(x.dims());
    let split = |inside: bool| -> (Vec<usize>, Vec<isize>) {
        let kept = (0..x.dims().len()).filter(|axis| axes.contains(axis) == inside);
        kept.map(|axis| (x.dims()[axis], strides[axis] as isize)).unzip()
    };
    let ((inner, inner_strides), (outer, outer_strides)) = (split(true), split(false));
    let starts = places(&outer, &outer_strides, 0);
    if let Elements::Ints(values) = x.elements() {
        let of = |start: usize| {
            let mut terms = places(&inner, &inner_strides, start).map(|at| values[at]);
            match reduction {
                Reduction::Sum => terms.try_fold(0i64, i64::checked_add),
                Reduction::Product => terms.try_fold(1i64, i64::checked_mul),
                Reduction::Max => terms.max(),
                Reduction::Min => terms.min(),
                Reduction::Mean | Reduction::L2 => None,
            }
        };
        let reduced: Option<Vec<i64>> = starts.map(of).collect();
        let reduced = reduced.ok_or("whole numbers can't be reduced so")?;
        return Array::new(dims, Elements::Ints(reduced.into()));
    }
    let values = x.as_floats()?;
    let count = inner.iter().product::<usize>() as f64;
    let of = |start: usize| {
        let terms = places(&inner, &inner_strides, start).map(|at| f64::from(values[at]));
        let reduced = match reduction {
            Reduction::Sum => terms.sum(),
            Reduction::Mean => terms.sum::<f64>() / count,
            Reduction::Product => terms.product(),
            Reduction::L2 => terms.map(|term| term * term).sum::<f64>().sqrt(),
            Reduction::Max => {
                terms.fold(f64::NEG_INFINITY, |a, b| if b > a || b.is_nan() { b } else { a })
            }
            Reduction::Min => {
                terms.fold(f64::INFINITY, |a, b| if b < a || b.is_nan() { b } else { a })
            }
        };
        reduced as f32
    };
    Array::floats(dims, starts.map(of).collect())
}

fn pad(x: &Array, before: &[usize], value: f32, dims: Vec<usize>) -> Folded<Array> {
    let strides: Vec<isize> = strides_of(&dims).iter().map(|stride| *stride as isize).collect();
    let start = before.iter().zip(&strides).map(|(before, stride)| before * *stride as usize).sum();
    let at = places(x.dims(), &strides, start);
    let count = dims.iter().product();
    let elements = match x.elements() {
        Elements::Floats(values) => {
            let mut padded = vec![value; count];
            at.zip(&values[..]).for_each(|(at, value)| padded[at] = *value);
            Elements::Floats(padded.into())
        }
        Elements::Ints(values) if value.fract() == 0.0 => {
            let mut padded = vec![value as i64; count];
            at.zip(&values[..]).for_each(|(at, value)| padded[at] = *value);
            Elements::Ints(padded.into())
        }
        other => return Err(format!("{} can't be padded with {value}", other.kind())),
    };
    Array::new(dims, elements)
}
