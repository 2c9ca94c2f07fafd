//! Operators on maps: windows that slide, padding, other sizes.

use super::call::{Call, Made, axes_of, axis_of, sizes, sizes_of};
use crate::onnx::array::Folded;
use crate::onnx::op::{Operator, Reduction, Sampling, Sliding};

/// The window of a convolution or pool, of which one of one axis has the last; `kernel` is what the weight
/// says.
pub fn sliding(call: &Call<'_>, kernel: [usize; 2]) -> Folded<Sliding> {
    let attributes = &call.attributes;
    let rank = call.dims(0).len().saturating_sub(2);
    let pair = |name: &str, default: usize| -> Folded<[usize; 2]> {
        match (attributes.ints(name)?, rank) {
            (None, _) => Ok([default; 2]),
            (Some(values), 1) => sizes_of(values).map(|[size]: [usize; 1]| [1, size]),
            (Some(values), _) => sizes_of(values),
        }
    };
    let said = pair("kernel_shape", 0)?;
    if said != [0; 2] && said[1] != kernel[1] || rank == 2 && said != [0; 2] && said != kernel {
        return Err(format!("its kernel is {said:?}, its weight's {kernel:?}"));
    }
    let (mut stride, mut dilation) = (pair("strides", 1)?, pair("dilations", 1)?);
    if rank == 1 {
        (stride[0], dilation[0]) = (1, 1);
    }
    if stride.contains(&0) || dilation.contains(&0) || kernel.contains(&0) {
        return Err("has a size of 0".into());
    }
    let [before, after] = match (attributes.ints("pads")?, rank) {
        (None, _) => [[0; 2]; 2],
        (Some(pads), 1) => {
            sizes_of(pads).map(|[left, right]: [usize; 2]| [[0, left], [0, right]])?
        }
        (Some(pads), _) => sizes_of(pads)
            .map(|[top, left, bottom, right]: [usize; 4]| [[top, left], [bottom, right]])?,
    };
    let ceil = attributes.flag("ceil_mode")?;
    let mut window = Sliding { kernel, stride, dilation, before, after, ceil };
    let auto = attributes.word("auto_pad", "NOTSET")?;
    match auto {
        "NOTSET" => {}
        "VALID" => (window.before, window.after) = ([0; 2], [0; 2]),
        "SAME_UPPER" | "SAME_LOWER" => {
            let dims = call.dims(0);
            for axis in (2 - rank.min(2))..2 {
                let size = dims[dims.len() - 2 + axis];
                let outputs = size.div_ceil(stride[axis]).max(1);
                let extent = (kernel[axis] - 1).saturating_mul(dilation[axis]) + 1;
                let needed = ((outputs - 1).saturating_mul(stride[axis])).saturating_add(extent);
                let all = needed.saturating_sub(size);
                let (small, large) = (all / 2, all - all / 2);
                (window.before[axis], window.after[axis]) =
                    if auto == "SAME_UPPER" { (small, large) } else { (large, small) };
            }
        }
        other => return Err(format!("has the unknown auto_pad {other:?}")),
    }
    Ok(window)
}

/// `MaxPool` and `AveragePool`.
pub fn pool(call: &mut Call<'_>) -> Made {
    call.takes(1)?;
    if call.outputs > 1 {
        return Err("gives the places of its maxima, too".into());
    }
    if call.attributes.flag("storage_order")? {
        return Err("has a storage order of columns".into());
    }
    let dims = call.dims(0);
    let shape: Vec<i64> = kernel_shape(call).ok_or("has no kernel_shape")?;
    let count_include_pad = call.attributes.flag("count_include_pad")?;
    let rank = dims.len().saturating_sub(2);
    let kernel = match rank {
        1 => sizes_of(&shape).map(|[size]: [usize; 1]| [1, size])?,
        2 => sizes_of(&shape)?,
        _ => return Err(format!("takes maps of one or two axes, not {dims:?}")),
    };
    let window = sliding(call, kernel)?;
    for (axis, size) in kernel.into_iter().enumerate() {
        let extent = (size - 1).saturating_mul(window.dilation[axis]) + 1;
        if window.before[axis] >= extent || window.after[axis] >= extent {
            return Err("has windows that hold nothing but padding".into());
        }
    }
    let op = match call.operator {
        "MaxPool" => Operator::MaxPool { window },
        _ => Operator::AvgPool { window, count_include_pad },
    };
    let x = call.wanted(0)?;
    if rank == 2 {
        return Ok(vec![call.push(op, vec![x])?]);
    }
    let x = call.reshape(x, vec![dims[0], dims[1], 1, dims[2]])?;
    let y = call.push(op, vec![x])?;
    let made = call.graph.dims(&y);
    let dims = vec![made[0], made[1], made[3]];
    Ok(vec![call.reshape(y, dims)?])
}

/// The attribute, which [`sliding`] reads again.
fn kernel_shape(call: &Call<'_>) -> Option<Vec<i64>> {
    call.attributes.peek_ints("kernel_shape").map(<[i64]>::to_vec)
}

/// `GlobalAveragePool` and `GlobalMaxPool`.
pub fn global_pool(call: &mut Call<'_>) -> Made {
    let axes: Vec<usize> = (2..call.dims(0).len()).collect();
    let reduction = match call.operator {
        "GlobalMaxPool" => Reduction::Max,
        _ => Reduction::Mean,
    };
    call.push_first(Operator::Reduce { reduction, axes, keep: true })
}

/// `Pad`: its amounts and value were attributes once. Negative amounts cut.
pub fn pad(call: &mut Call<'_>) -> Made {
    let dims = call.dims(0);
    let mode = call.attributes.word("mode", "constant")?;
    let amounts = match call.attributes.ints("paddings")? {
        Some(amounts) => amounts.to_vec(),
        None => call.ints_of("pads", 1)?.ok_or("has no amounts")?,
    };
    let value = call.attributes.float("value", 0.0)?;
    let value = match call.constant(2)? {
        Some(given) => given.array.as_float().ok_or("its value isn't one float")?,
        None => value,
    };
    let axes = call.ints(3)?.unwrap_or_else(|| (0..dims.len() as i64).collect());
    let axes: Vec<usize> =
        axes.iter().map(|axis| axis_of(*axis, dims.len())).collect::<Folded<_>>()?;
    axes_of(&axes.iter().map(|axis| *axis as i64).collect::<Vec<_>>(), dims.len())?;
    if amounts.len() != 2 * axes.len() {
        return Err(format!("{amounts:?} aren't two amounts a dimension"));
    }
    let mut all = vec![[0i64; 2]; dims.len()];
    for (at, axis) in axes.iter().enumerate() {
        all[*axis] = [amounts[at], amounts[at + axes.len()]];
    }
    let mut x = call.wanted(0)?;
    if mode == "constant" {
        let cut = |amount: i64| usize::try_from(amount.saturating_neg()).unwrap_or(0);
        if all.iter().flatten().any(|amount| *amount < 0) {
            let mut cuts = Vec::new();
            for (size, [before, after]) in dims.iter().zip(&all) {
                let (start, end) = (cut(*before), cut(*after));
                let size = size.checked_sub(start).and_then(|size| size.checked_sub(end));
                let size = size.ok_or("cuts off more than there is")?;
                cuts.push(crate::onnx::op::AxisCut { start, step: 1, size });
            }
            x = call.push(Operator::Slice { cuts }, vec![x])?;
        }
        let side = |at: usize| -> Vec<usize> {
            all.iter().map(|pair| usize::try_from(pair[at]).unwrap_or(0)).collect()
        };
        let (before, after) = (side(0), side(1));
        if before.iter().chain(&after).all(|amount| *amount == 0) {
            return Ok(vec![x]);
        }
        return Ok(vec![call.push(Operator::Pad { before, after, value }, vec![x])?]);
    }
    for (axis, [before, after]) in all.into_iter().enumerate() {
        if before == 0 && after == 0 {
            continue;
        }
        let size = dims[axis] as i64;
        let (before, after) = (sizes(&[before])?[0] as i64, sizes(&[after])?[0] as i64);
        let most = size.saturating_mul(2);
        let fits = before <= most && after <= most && size > 0;
        let place = |at: i64| match mode {
            "edge" => Some(at.clamp(0, size - 1)),
            "wrap" => Some(at.rem_euclid(size)),
            "reflect" if size > 1 => {
                let period = 2 * (size - 1);
                let at = at.rem_euclid(period);
                Some(if at < size { at } else { period - at })
            }
            _ => None,
        };
        let indices = (-before..size + after).map(|at| Some(place(at)? as usize));
        let indices = if fits { indices.collect::<Option<Vec<usize>>>() } else { None };
        let indices = indices.ok_or_else(|| format!("can't pad {size} so in mode {mode:?}"))?;
        x = call.push(Operator::PadFrom { axis, indices }, vec![x])?;
    }
    Ok(vec![x])
}

/// `Resize` and `Upsample` of the last two dimensions.
pub fn resize(call: &mut Call<'_>) -> Made {
    let dims = call.dims(0);
    let rank = dims.len();
    if rank < 2 || dims.contains(&0) {
        return Err(format!("takes maps with rows and columns, not {dims:?}"));
    }
    let attributes = &call.attributes;
    let is_old = call.operator == "Upsample" || call.opset < 11;
    let (scales_at, sizes_at) = if is_old { (1, usize::MAX) } else { (2, 3) };
    let sampling = match attributes.word("mode", "nearest")? {
        "nearest" => Sampling::Nearest,
        "linear" | "bilinear" => Sampling::Linear,
        "cubic" => Sampling::Cubic,
        other => return Err(format!("has the unknown mode {other:?}")),
    };
    let place = attributes
        .word("coordinate_transformation_mode", if is_old { "asymmetric" } else { "half_pixel" })?;
    let rounding =
        attributes.word("nearest_mode", if is_old { "floor" } else { "round_prefer_floor" })?;
    if attributes.flag("antialias")? || attributes.flag("exclude_outside")? {
        return Err("smooths while it resizes".into());
    }
    if attributes.word("keep_aspect_ratio_policy", "stretch")? != "stretch" {
        return Err("keeps the aspect ratio".into());
    }
    if attributes.float("cubic_coeff_a", -0.75)? != -0.75 {
        return Err("has another cubic coefficient than PyTorch's −0.75".into());
    }
    attributes.ignore(&["extrapolation_value"]);
    let axes: Vec<usize> = match attributes.ints("axes")? {
        Some(axes) => axes.iter().map(|axis| axis_of(*axis, rank)).collect::<Folded<_>>()?,
        None => (0..rank).collect(),
    };
    let given = attributes.floats("scales")?.map(<[f32]>::to_vec);
    let scales = match call.constant(scales_at)?.filter(|scales| scales.array.len() > 0) {
        Some(scales) => Some(scales.array.as_floats()?.to_vec()),
        None => given,
    };
    let new = if sizes_at == usize::MAX { None } else { call.ints(sizes_at)? };
    let mut scale = vec![1.0f32; rank];
    let mut outputs = dims.clone();
    axes_of(&axes.iter().map(|axis| *axis as i64).collect::<Vec<_>>(), rank)?;
    match (scales, new) {
        (None, Some(new)) if new.len() == axes.len() => {
            for (axis, size) in axes.iter().zip(sizes(&new)?) {
                outputs[*axis] = size;
                scale[*axis] = size as f32 / dims[*axis] as f32;
            }
        }
        (Some(scales), None) if scales.len() == axes.len() => {
            for (axis, factor) in axes.iter().zip(scales) {
                // In f32, as other programs round it.
                let size = (dims[*axis] as f32 * factor).floor();
                if !(1.0..=1e6).contains(&size) {
                    return Err(format!("can't make {} {factor} times as large", dims[*axis]));
                }
                (outputs[*axis], scale[*axis]) = (size as usize, factor);
                let length = dims[*axis] as f32 * factor;
                if place == "align_corners" && length != size {
                    return Err(format!(
                        "aligns corners at a length of {length}, which programs understand differently"
                    ));
                }
                if is_old && sampling == Sampling::Nearest && factor < 1.0 {
                    return Err(format!(
                        "makes a map smaller by the nearest pixels as version {} of ONNX leaves open",
                        call.opset
                    ));
                }
            }
        }
        _ => return Err("has neither scales nor sizes of each dimension".into()),
    }
    if outputs[..rank - 2] != dims[..rank - 2]
        || outputs.contains(&0)
        || outputs[rank - 2..].iter().any(|s| *s > 1 << 16)
    {
        return Err(format!("makes {outputs:?} of {dims:?}; only rows and columns can be resized"));
    }
    let coordinates = |axis: usize| -> Folded<Vec<f32>> {
        let (size, count) = (dims[axis], outputs[axis]);
        let at = |output: usize| -> Folded<f32> {
            let output = output as f32;
            Ok(match place {
                "half_pixel" => (output + 0.5) / scale[axis] - 0.5,
                "pytorch_half_pixel" if count == 1 => 0.0,
                "pytorch_half_pixel" => (output + 0.5) / scale[axis] - 0.5,
                "align_corners" if count == 1 => 0.0,
                "align_corners" => output * (size - 1) as f32 / (count - 1) as f32,
                "asymmetric" => output / scale[axis],
                other => return Err(format!("has the coordinates {other:?}")),
            })
        };
        let round = |x: f32| match (sampling, rounding) {
            (Sampling::Nearest, "floor") => Some(x.floor()),
            (Sampling::Nearest, "ceil") => Some(x.ceil()),
            (Sampling::Nearest, "round_prefer_floor") => Some((x - 0.5).ceil()),
            (Sampling::Nearest, "round_prefer_ceil") => Some((x + 0.5).floor()),
            (Sampling::Nearest, _) => None,
            _ => Some(x),
        };
        let places = (0..count).map(|output| {
            let at = round(at(output)?).ok_or_else(|| format!("rounds as {rounding:?}"))?;
            Ok(if sampling == Sampling::Nearest { at.clamp(0.0, (size - 1) as f32) } else { at })
        });
        places.collect()
    };
    let (rows, columns) = (coordinates(rank - 2)?, coordinates(rank - 1)?);
    call.push_first(Operator::Resize { sampling, rows, columns })
}
