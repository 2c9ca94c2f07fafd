//! Operators that move elements.

use super::call::{Call, Made, axes_of, axis_of, sizes, sizes_of};
use crate::onnx::array::{Folded, elements_of, spread_of};
use crate::onnx::graph::Operand;
use crate::onnx::op::{AxisCut, Operator};

/// `Reshape`: −1 is what is left, 0 the input's size.
pub fn reshape(call: &mut Call<'_>) -> Made {
    let keeps_zero = call.attributes.flag("allowzero")?;
    let from = call.dims(0);
    let wanted = call.ints_of("shape", 1)?.ok_or("has no shape")?;
    let mut dims = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (at, size) in wanted.iter().enumerate() {
        dims.push(match size {
            -1 if open.is_none() => {
                open = Some(at);
                1
            }
            0 if !keeps_zero => {
                *from.get(at).ok_or_else(|| format!("{from:?} has no dimension {at}"))?
            }
            size => usize::try_from(*size).map_err(|_| format!("can't be of shape {wanted:?}"))?,
        });
    }
    if let Some(at) = open {
        let (all, rest) = (elements_of(&from)?, elements_of(&dims)?);
        if rest == 0 || !all.is_multiple_of(rest) {
            return Err(format!("{from:?} can't be of shape {wanted:?}"));
        }
        dims[at] = all / rest;
    }
    let x = call.wanted(0)?;
    Ok(vec![call.reshape(x, dims)?])
}

/// `Flatten`: two dimensions, split at `axis`.
pub fn flatten(call: &mut Call<'_>) -> Made {
    let from = call.dims(0);
    let axis = call.attributes.int("axis")?.unwrap_or(1);
    let axis = if axis == from.len() as i64 { from.len() } else { axis_of(axis, from.len())? };
    let dims = vec![elements_of(&from[..axis])?, elements_of(&from[axis..])?];
    let x = call.wanted(0)?;
    Ok(vec![call.reshape(x, dims)?])
}

/// `Squeeze`: dimensions of 1 fall away.
pub fn squeeze(call: &mut Call<'_>) -> Made {
    let from = call.dims(0);
    let axes = match call.ints_of("axes", 1)? {
        Some(axes) => axes_of(&axes, from.len())?,
        None => (0..from.len()).filter(|axis| from[*axis] == 1).collect(),
    };
    if axes.iter().any(|axis| from[*axis] != 1) {
        return Err(format!("dimensions {axes:?} of {from:?} aren't all 1"));
    }
    let kept = (0..from.len()).filter(|axis| !axes.contains(axis));
    let dims = kept.map(|axis| from[axis]).collect();
    let x = call.wanted(0)?;
    Ok(vec![call.reshape(x, dims)?])
}

/// `Unsqueeze`: dimensions of 1 at places of the output.
pub fn unsqueeze(call: &mut Call<'_>) -> Made {
    let from = call.dims(0);
    let axes = call.ints_of("axes", 1)?.ok_or("has no axes")?;
    let rank = from.len() + axes.len();
    let axes = axes_of(&axes, rank)?;
    let mut rest = from.iter();
    let dims = (0..rank).map(|axis| match axes.contains(&axis) {
        true => 1,
        false => rest.next().copied().unwrap_or(1),
    });
    let dims = dims.collect();
    let x = call.wanted(0)?;
    Ok(vec![call.reshape(x, dims)?])
}

/// `Transpose`; without an order the dimensions are reversed.
pub fn transpose(call: &mut Call<'_>) -> Made {
    let rank = call.dims(0).len();
    let order = match call.attributes.ints("perm")? {
        Some(order) => {
            axes_of(order, rank)?;
            sizes(order)?
        }
        None => (0..rank).rev().collect(),
    };
    if order.len() != rank {
        return Err(format!("{order:?} isn't an order of {rank} dimensions"));
    }
    if order.iter().enumerate().all(|(at, dim)| at == *dim) {
        return Ok(vec![call.wanted(0)?]);
    }
    call.push_first(Operator::Transpose { order })
}

/// `Expand`: spread as NumPy broadcasts.
pub fn expand(call: &mut Call<'_>) -> Made {
    let from = call.dims(0);
    let wanted = sizes(&call.ints(1)?.ok_or("has no shape")?)?;
    let dims = spread_of(&from, &wanted)?;
    if dims == from {
        return Ok(vec![call.wanted(0)?]);
    }
    call.push_first(Operator::Expand { dims })
}

/// `Tile`: each dimension so many times.
pub fn tile(call: &mut Call<'_>) -> Made {
    let repeats = sizes(&call.ints(1)?.ok_or("has no repeats")?)?;
    let from = call.dims(0);
    if repeats.len() != from.len() {
        return Err(format!("{repeats:?} repeats don't fit {from:?}"));
    }
    // Each dimension behind one of its repeats: 1 × size, spread to repeats × size.
    let (mut apart, mut spread, mut dims) = (Vec::new(), Vec::new(), Vec::new());
    for (size, count) in from.iter().zip(&repeats) {
        apart.extend([1, *size]);
        spread.extend([*count, *size]);
        dims.push(elements_of(&[*size, *count])?);
    }
    let x = call.wanted(0)?;
    if repeats.iter().all(|count| *count == 1) {
        return Ok(vec![x]);
    }
    let x = call.reshape(x, apart)?;
    let x = call.push(Operator::Expand { dims: spread }, vec![x])?;
    let x = call.reshape(x, dims)?;
    Ok(vec![x])
}

/// `Concat`.
pub fn concat(call: &mut Call<'_>) -> Made {
    let rank = call.dims(0).len();
    let axis = axis_of(call.attributes.int("axis")?.unwrap_or(1), rank)?;
    if call.inputs.iter().any(|input| !input.is_present()) {
        return Err("an input is missing".into());
    }
    let inputs: Vec<Operand> = call.inputs.clone();
    if let [only] = &inputs[..] {
        return Ok(vec![only.clone()]);
    }
    Ok(vec![call.push(Operator::Concat { axis }, inputs)?])
}

/// The part of `x` from `start` on along an axis.
fn part(
    call: &mut Call<'_>,
    x: &Operand,
    axis: usize,
    start: usize,
    size: usize,
) -> Folded<Operand> {
    let mut cuts: Vec<AxisCut> = whole(call.graph.dims(x));
    cuts[axis] = AxisCut { start, step: 1, size };
    cut(call, x.clone(), cuts)
}

fn whole(dims: &[usize]) -> Vec<AxisCut> {
    dims.iter().map(|size| AxisCut { start: 0, step: 1, size: *size }).collect()
}

fn cut(call: &mut Call<'_>, x: Operand, cuts: Vec<AxisCut>) -> Folded<Operand> {
    if cuts == whole(call.graph.dims(&x)) {
        return Ok(x);
    }
    call.push(Operator::Slice { cuts }, vec![x])
}

/// `Split`: parts of given or equal sizes along an axis.
pub fn split(call: &mut Call<'_>) -> Made {
    let dims = call.dims(0);
    let axis = axis_of(call.attributes.int("axis")?.unwrap_or(0), dims.len())?;
    let count = match call.attributes.int("num_outputs")? {
        Some(count) => usize::try_from(count).map_err(|_| "has a negative number of outputs")?,
        None => call.outputs,
    };
    let parts = match call.ints_of("split", 1)? {
        Some(parts) => sizes(&parts)?,
        None => {
            let each = dims[axis].div_ceil(count.max(1));
            let at = |part: usize| (part * each).min(dims[axis]);
            (0..count.min(dims[axis])).map(|part| at(part + 1) - at(part)).collect()
        }
    };
    let sum = parts.iter().try_fold(0usize, |sum, part| sum.checked_add(*part));
    if sum != Some(dims[axis]) || parts.len() != call.outputs {
        return Err(format!("parts of {parts:?} aren't those of {dims:?}"));
    }
    let (x, mut start, mut made) = (call.wanted(0)?, 0, Vec::new());
    for size in parts {
        made.push(part(call, &x, axis, start, size)?);
        start += size;
    }
    Ok(made)
}

/// `Slice`.
pub fn slice(call: &mut Call<'_>) -> Made {
    let dims = call.dims(0);
    let (starts, ends) = (
        call.ints_of("starts", 1)?.ok_or("has no starts")?,
        call.ints_of("ends", 2)?.ok_or("has no ends")?,
    );
    let axes = call.ints_of("axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = call.ints(4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()].iter().any(|count| *count != starts.len()) {
        return Err("its starts, ends, axes and steps aren't of one number".into());
    }
    axes_of(&axes, dims.len())?;
    let mut cuts = whole(&dims);
    for (at, axis) in axes.iter().enumerate() {
        let axis = axis_of(*axis, dims.len())?;
        let size = dims[axis] as i64;
        let from_end = |place: i64| if place < 0 { place.saturating_add(size) } else { place };
        let step = steps[at];
        if step == 0 || step == i64::MIN {
            return Err(format!("has a step of {step}"));
        }
        let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
        let start = from_end(starts[at]).clamp(low.max(0), high.max(0));
        let end = from_end(ends[at]).clamp(low, high);
        let distance = if step > 0 { end - start } else { start - end };
        let count = distance.max(0) as u64;
        let count = count.div_ceil(step.unsigned_abs()) as usize;
        cuts[axis] = AxisCut { start: start as usize, step: step as isize, size: count };
    }
    let x = call.wanted(0)?;
    Ok(vec![cut(call, x, cuts)?])
}

/// `Gather`: entries along an axis.
pub fn gather(call: &mut Call<'_>) -> Made {
    let dims = call.dims(0);
    let axis = axis_of(call.attributes.int("axis")?.unwrap_or(0), dims.len())?;
    let chosen = call.constant(1)?.ok_or("has no indices")?.array;
    let indices = chosen.as_ints()?.iter().map(|index| axis_of(*index, dims[axis]));
    let indices = indices.collect::<Folded<Vec<usize>>>()?;
    let x = call.wanted(0)?;
    let is_range = indices.windows(2).all(|pair| pair[1] == pair[0] + 1);
    let (first, count) = (indices.first().copied().unwrap_or(0), indices.len());
    let taken = match is_range && count > 0 {
        true => part(call, &x, axis, first, count)?,
        false => call.push(Operator::Take { axis, indices }, vec![x])?,
    };
    let mut shape = dims[..axis].to_vec();
    shape.extend(chosen.dims());
    shape.extend(&dims[axis + 1..]);
    Ok(vec![call.reshape(taken, shape)?])
}

/// `DepthToSpace` and `SpaceToDepth`: blocks of pixels become channels, or the other way round.
pub fn blocks(call: &mut Call<'_>) -> Made {
    let block = call.attributes.int("blocksize")?.unwrap_or(0);
    let [block] = sizes_of(&[block])?;
    let [images, channels, height, width] = call.dims(0)[..] else {
        return Err("takes maps with rows and columns".into());
    };
    if block == 0 || block > 1 << 12 {
        return Err(format!("blocks of {block} aren't taken"));
    }
    let is_deep = call.operator == "DepthToSpace";
    let mode = call.attributes.word("mode", "DCR")?;
    let (split, order, dims) = if is_deep {
        let outputs = channels / (block * block);
        let (split, order) = match mode {
            "DCR" => ([images, block, block, outputs, height, width], [0, 3, 4, 1, 5, 2]),
            "CRD" => ([images, outputs, block, block, height, width], [0, 1, 4, 2, 5, 3]),
            other => return Err(format!("has the unknown mode {other:?}")),
        };
        (split, order, [images, outputs, height.saturating_mul(block), width.saturating_mul(block)])
    } else {
        let (rows, columns) = (height / block, width / block);
        let split = [images, channels, rows, block, columns, block];
        let outputs = channels.saturating_mul(block * block);
        let order = match mode {
            "DCR" => [0, 3, 5, 1, 2, 4],
            "CRD" => [0, 1, 3, 5, 2, 4],
            other => return Err(format!("has the unknown mode {other:?}")),
        };
        (split, order, [images, outputs, rows, columns])
    };
    let x = call.wanted(0)?;
    let x = call.reshape(x, split.to_vec())?;
    let x = call.push(Operator::Transpose { order: order.to_vec() }, vec![x])?;
    Ok(vec![call.reshape(x, dims.to_vec())?])
}
