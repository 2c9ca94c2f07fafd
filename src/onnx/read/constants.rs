//! Operators that are computed before the network runs.

use std::sync::Arc;

use super::call::{Call, Made, axis_of, sizes, sizes_of};
use crate::onnx::array::{
    Array, BOOL, DOUBLE, Elements, FLOAT, Folded, INT32, INT64, MOST_ELEMENTS, elements_of,
    strides_of, type_name,
};
use crate::onnx::graph::Operand;
use crate::onnx::op::Operator;

/// `Constant`: one of six attributes.
pub fn constant(call: &mut Call<'_>) -> Made {
    let attributes = &call.attributes;
    let array = if let Some(array) = attributes.array("value", call.external)? {
        array
    } else if let Some(values) = attributes.ints("value_ints")? {
        Array::ints(values)
    } else if let Some(values) = attributes.floats("value_floats")? {
        Array::floats(vec![values.len()], values.to_vec())?
    } else if let Some(value) = attributes.int("value_int")? {
        Array::new(vec![], Elements::Ints([value].into()))?
    } else {
        let value = attributes.float("value_float", f32::NAN)?;
        if value.is_nan() {
            return Err("has no value that this program takes".into());
        }
        Array::float(value)
    };
    Ok(vec![array.into()])
}

/// `ConstantOfShape`.
pub fn constant_of_shape(call: &mut Call<'_>) -> Made {
    let value = call.attributes.array("value", call.external)?;
    let value = value.unwrap_or_else(|| Array::float(0.0));
    let dims = sizes(&call.ints(0)?.ok_or("has no shape")?)?;
    let count = elements_of(&dims)?;
    if value.len() != 1 || count > MOST_ELEMENTS {
        return Err(format!("can't fill {dims:?} with {:?}", value.dims()));
    }
    Ok(vec![value.picked(dims, std::iter::repeat_n(0, count))?.into()])
}

/// `Shape`: of one image, and with dimensions from `start` to `end`.
pub fn shape(call: &mut Call<'_>) -> Made {
    call.wanted(0)?;
    let dims: Vec<i64> = call.dims(0).iter().map(|size| *size as i64).collect();
    let at = |place: i64| {
        let from_end = if place < 0 { place.saturating_add(dims.len() as i64) } else { place };
        from_end.clamp(0, dims.len() as i64) as usize
    };
    let start = at(call.attributes.int("start")?.unwrap_or(0));
    let end = at(call.attributes.int("end")?.unwrap_or(i64::MAX)).max(start);
    Ok(vec![Array::ints(&dims[start..end]).into()])
}

/// `Size`.
pub fn size(call: &mut Call<'_>) -> Made {
    call.wanted(0)?;
    let elements = elements_of(&call.dims(0))? as i64;
    Ok(vec![Array::new(vec![], Elements::Ints([elements].into()))?.into()])
}

/// `Range`.
pub fn range(call: &mut Call<'_>) -> Made {
    let mut bounds = Vec::new();
    for at in 0..3 {
        bounds.push(call.constant(at)?.ok_or("lacks a bound")?.array);
    }
    let too_long = || format!("more than {MOST_ELEMENTS} numbers are too many");
    let array = match bounds[0].elements() {
        Elements::Ints(_) => {
            let numbers = bounds.iter().map(|bound| bound.as_ints().map(|v| v.first().copied()));
            let numbers: Option<Vec<i64>> =
                numbers.collect::<Folded<Vec<_>>>()?.into_iter().collect();
            let [start, limit, step] = numbers.unwrap_or_default()[..] else {
                return Err("has an empty bound".into());
            };
            let distance = i128::from(limit) - i128::from(start);
            if step == 0 {
                return Err("has a step of 0".into());
            }
            let step_wide = i128::from(step);
            let count = (distance + step_wide - step_wide.signum()) / step_wide;
            let count = usize::try_from(count.max(0)).map_err(|_| too_long())?;
            if count > MOST_ELEMENTS {
                return Err(too_long());
            }
            let values: Vec<i64> =
                (0..count as i64).map(|at| start.wrapping_add(at.wrapping_mul(step))).collect();
            Array::ints(&values)
        }
        _ => {
            let numbers: Option<Vec<f32>> = bounds.iter().map(Array::as_float).collect();
            let [start, limit, step] = numbers.unwrap_or_default()[..] else {
                return Err("has a bound that isn't one number".into());
            };
            let count = ((f64::from(limit) - f64::from(start)) / f64::from(step)).ceil().max(0.0);
            if count.is_nan() || count > MOST_ELEMENTS as f64 {
                return Err(too_long());
            }
            let values: Vec<f32> = (0..count as usize).map(|at| start + at as f32 * step).collect();
            Array::floats(vec![values.len()], values)?
        }
    };
    Ok(vec![array.into()])
}

fn each<A: Copy, B>(values: &[A], to: impl Fn(A) -> B) -> Arc<[B]> {
    values.iter().map(|value| to(*value)).collect()
}

/// `Cast` and `CastLike`. A value stays what it is where it is cast to float32.
pub fn cast(call: &mut Call<'_>) -> Made {
    call.attributes.ignore(&["saturate", "round_mode"]);
    let to = match call.operator {
        "Cast" => call.attributes.int("to")?.unwrap_or(0),
        _ => match call.wanted(1)? {
            Operand::Value(_) => i64::from(FLOAT),
            Operand::Constant(like) => i64::from(match like.array.elements() {
                Elements::Floats(_) => FLOAT,
                Elements::Ints(_) => INT64,
                Elements::Bools(_) => BOOL,
            }),
            Operand::Absent => 0,
        },
    };
    let to = i32::try_from(to).unwrap_or(-1);
    let refused = || Err(format!("casts to {}: export the network in float32", type_name(to)));
    let Operand::Constant(constant) = call.wanted(0)? else {
        return if to == FLOAT { Ok(vec![call.wanted(0)?]) } else { refused() };
    };
    let array = &constant.array;
    let elements = match (array.elements(), to) {
        (Elements::Floats(_), FLOAT | DOUBLE) => array.elements().clone(),
        (Elements::Ints(v), FLOAT | DOUBLE) => Elements::Floats(each(v, |v| v as f32)),
        (Elements::Bools(v), FLOAT | DOUBLE) => Elements::Floats(each(v, |v| u8::from(v).into())),
        (Elements::Floats(v), INT64) => Elements::Ints(each(v, |v| v as i64)),
        (Elements::Floats(v), INT32) => Elements::Ints(each(v, |v| i64::from(v as i32))),
        (Elements::Ints(v), INT32) => Elements::Ints(each(v, |v| i64::from(v as i32))),
        (Elements::Ints(_), INT64) | (Elements::Bools(_), BOOL) => array.elements().clone(),
        (Elements::Bools(v), INT32 | INT64) => Elements::Ints(each(v, i64::from)),
        (Elements::Floats(v), BOOL) => Elements::Bools(each(v, |v| v != 0.0)),
        (Elements::Ints(v), BOOL) => Elements::Bools(each(v, |v| v != 0)),
        _ => return refused(),
    };
    let is_same =
        matches!((array.elements(), &elements), (Elements::Floats(_), Elements::Floats(_)));
    let array = Array::new(array.dims().to_vec(), elements)?;
    let name = constant.name.filter(|_| is_same);
    Ok(vec![Operand::Constant(crate::onnx::graph::NamedArray { array, name })])
}

/// `ScatterND` on constants: slices at indices are replaced.
pub fn scatter_nd(call: &mut Call<'_>) -> Made {
    if call.attributes.word("reduction", "none")? != "none" {
        return Err("adds up where it scatters".into());
    }
    let wanted = |at: usize| call.constant(at)?.ok_or_else(|| format!("its input {at} is missing"));
    let (data, indices, updates) = (wanted(0)?.array, wanted(1)?.array, wanted(2)?.array);
    let (starts, slice) = slice_starts(&data, &indices)?;
    let (count, run) = (starts.len(), slice.iter().product::<usize>());
    if updates.len() != count * run {
        return Err(format!("{:?} can't be put at {:?}", updates.dims(), indices.dims()));
    }
    macro_rules! scattered {
        ($values:ident, $kind:path) => {{
            let (mut all, new) = (data.$values()?.to_vec(), updates.$values()?);
            for (at, start) in starts.iter().enumerate() {
                all[*start..start + run].copy_from_slice(&new[at * run..][..run]);
            }
            $kind(all.into())
        }};
    }
    let elements = match data.elements() {
        Elements::Floats(_) => scattered!(as_floats, Elements::Floats),
        Elements::Ints(_) => scattered!(as_ints, Elements::Ints),
        Elements::Bools(_) => scattered!(as_bools, Elements::Bools),
    };
    Ok(vec![Array::new(data.dims().to_vec(), elements)?.into()])
}

/// Where the slices that indices name begin in an array, and their shape.
fn slice_starts<'a>(data: &'a Array, indices: &Array) -> Folded<(Vec<usize>, &'a [usize])> {
    let Some((width, outer)) = indices.dims().split_last() else {
        return Err("has no indices".into());
    };
    if *width > data.dims().len() {
        return Err(format!("{width} indices are too many for {:?}", data.dims()));
    }
    let (indexed, slice) = data.dims().split_at(*width);
    let strides = strides_of(data.dims());
    let count: usize = outer.iter().product();
    let numbers = indices.as_ints()?;
    let mut starts = Vec::with_capacity(count);
    for at in 0..count {
        let mut start = 0;
        for dim in 0..*width {
            start += axis_of(numbers[at * width + dim], indexed[dim])? * strides[dim];
        }
        starts.push(start);
    }
    Ok((starts, slice))
}

/// `GatherND` on constants: slices at indices.
pub fn gather_nd(call: &mut Call<'_>) -> Made {
    if call.attributes.int("batch_dims")?.unwrap_or(0) != 0 {
        return Err("gathers along a batch".into());
    }
    let wanted = |at: usize| call.constant(at)?.ok_or_else(|| format!("its input {at} is missing"));
    let (data, indices) = (wanted(0)?.array, wanted(1)?.array);
    let (starts, slice) = slice_starts(&data, &indices)?;
    let run: usize = slice.iter().product();
    let mut dims = indices.dims()[..indices.dims().len() - 1].to_vec();
    dims.extend(slice);
    let places = starts.iter().flat_map(|start| *start..start + run);
    Ok(vec![data.picked(dims, places)?.into()])
}

/// `CumSum` on constants.
pub fn cumulated(call: &mut Call<'_>) -> Made {
    let (exclusive, reverse) =
        (call.attributes.flag("exclusive")?, call.attributes.flag("reverse")?);
    let x = call.constant(0)?.ok_or("has no input")?.array;
    let axis = call.ints(1)?.and_then(|axis| axis.first().copied()).ok_or("has no axis")?;
    let axis = axis_of(axis, x.dims().len())?;
    let (size, inner) = (x.dims()[axis], x.dims()[axis + 1..].iter().product::<usize>());
    macro_rules! cumulated {
        ($values:expr, $zero:expr, $kind:path, $add:expr) => {{
            let mut all = $values.to_vec();
            for row in 0..all.len() / size.max(1) {
                let first = row / inner * size * inner + row % inner;
                let mut sum = $zero;
                for step in 0..size {
                    let step = if reverse { size - 1 - step } else { step };
                    let at = first + step * inner;
                    let next = $add(sum, all[at]);
                    all[at] = if exclusive { sum } else { next };
                    sum = next;
                }
            }
            $kind(all.into())
        }};
    }
    let elements = match x.elements() {
        Elements::Floats(values) => cumulated!(values, 0.0, Elements::Floats, |a, b| a + b),
        Elements::Ints(values) => cumulated!(values, 0, Elements::Ints, i64::wrapping_add),
        Elements::Bools(_) => return Err("sums truth values".into()),
    };
    Ok(vec![Array::new(x.dims().to_vec(), elements)?.into()])
}

/// `OneHot` on constants: along a new dimension one of two values, the second where the index says.
pub fn one_hot(call: &mut Call<'_>) -> Made {
    let wanted = |at: usize| call.constant(at)?.ok_or_else(|| format!("its input {at} is missing"));
    let (indices, depth, values) = (wanted(0)?.array, wanted(1)?.array, wanted(2)?.array);
    let depth = match depth.elements() {
        Elements::Ints(depth) => depth.first().copied(),
        _ => depth.as_float().map(|depth| depth as i64),
    };
    let [depth] = sizes_of(&[depth.ok_or("has no depth")?])?;
    let rank = indices.dims().len() + 1;
    let axis = axis_of(call.attributes.int("axis")?.unwrap_or(-1), rank)?;
    if values.len() != 2 {
        return Err(format!("{:?} aren't two values", values.dims()));
    }
    let mut dims = indices.dims().to_vec();
    dims.insert(axis, depth);
    let inner: usize = dims[axis + 1..].iter().product();
    let numbers = indices.as_ints()?.to_vec();
    let count = elements_of(&dims)?;
    if count > MOST_ELEMENTS {
        return Err(format!("a constant of {dims:?} is too large"));
    }
    let places = (0..count).map(|at| {
        let (outer, class, rest) = (at / inner / depth, at / inner % depth, at % inner);
        let number = numbers[outer * inner + rest];
        let number = if number < 0 { number + depth as i64 } else { number };
        usize::from(number == class as i64)
    });
    Ok(vec![values.picked(dims.clone(), places)?.into()])
}

/// `Trilu` on constants: one triangle of matrices, zeros elsewhere.
pub fn trilu(call: &mut Call<'_>) -> Made {
    let is_upper = call.attributes.int("upper")?.unwrap_or(1) != 0;
    let shift = call.ints(1)?.and_then(|shift| shift.first().copied()).unwrap_or(0);
    let x = call.constant(0)?.ok_or("has no input")?.array;
    let [.., rows, columns] = *x.dims() else { return Err("takes matrices".into()) };
    let keep = |at: usize| {
        let (row, column) = ((at / columns % rows) as i64, (at % columns) as i64);
        let distance = (column - row).saturating_sub(shift);
        if is_upper { distance >= 0 } else { distance <= 0 }
    };
    let kept: Vec<bool> = (0..x.len()).map(keep).collect();
    let mask = Array::new(x.dims().to_vec(), Elements::Bools(kept.into()))?;
    let zero: Array = match x.elements() {
        Elements::Floats(_) => Array::float(0.0),
        Elements::Ints(_) => Array::new(vec![], Elements::Ints([0].into()))?,
        Elements::Bools(_) => {
            let both = x.as_bools()?.iter().zip(mask.as_bools()?).map(|(x, keep)| *x && *keep);
            let elements = Elements::Bools(both.collect());
            return Ok(vec![Array::new(x.dims().to_vec(), elements)?.into()]);
        }
    };
    Ok(vec![call.push(Operator::Where, vec![mask.into(), x.into(), zero.into()])?])
}
