//! Operators that compute element by element, and those that reduce.

use super::call::{Call, Made, axes_of, axis_of};
use crate::onnx::array::Folded;
use crate::onnx::graph::Operand;
use crate::onnx::op::{Binary, Function, Operator, Reduction};

/// A function without attributes.
pub fn unary(call: &mut Call<'_>, function: Function) -> Made {
    call.takes(1)?;
    call.push_first(Operator::Unary(function))
}

/// A function with attributes.
pub fn with_attributes(call: &mut Call<'_>) -> Made {
    let attributes = &call.attributes;
    let function = match call.operator {
        "LeakyRelu" => Function::LeakyRelu { slope: attributes.float("alpha", 0.01)? },
        "Elu" => Function::Elu { alpha: attributes.float("alpha", 1.0)? },
        "HardSigmoid" => Function::HardSigmoid {
            slope: attributes.float("alpha", 0.2)?,
            shift: attributes.float("beta", 0.5)?,
        },
        "Selu" => Function::Selu {
            alpha: attributes.float("alpha", 1.673_263_2)?,
            gamma: attributes.float("gamma", 1.050_701)?,
        },
        "Swish" => match attributes.float("alpha", 1.0)? {
            1.0 => Function::Silu,
            alpha => return Err(format!("has an alpha of {alpha}; only 1 is taken")),
        },
        "Gelu" => match attributes.word("approximate", "none")? {
            "none" => Function::Gelu,
            "tanh" => Function::GeluTanh,
            other => return Err(format!("has the unknown approximation {other:?}")),
        },
        other => return Err(format!("{other} isn't a function that is known")),
    };
    unary(call, function)
}

/// `Clip`: bounds were attributes once.
pub fn clip(call: &mut Call<'_>) -> Made {
    let bound = |name: &str, at: usize, open: f32| -> Folded<f32> {
        let attribute = call.attributes.float(name, open)?;
        match call.constant(at)? {
            None => Ok(attribute),
            Some(bound) => {
                bound.array.as_float().ok_or_else(|| format!("its {name} isn't one float"))
            }
        }
    };
    let (low, high) = (bound("min", 1, f32::NEG_INFINITY)?, bound("max", 2, f32::INFINITY)?);
    call.push_first(Operator::Unary(Function::Clip { low, high }))
}

/// `PRelu`: max(x, 0) + slope · min(x, 0), as relu(x) − slope · relu(−x).
pub fn prelu(call: &mut Call<'_>) -> Made {
    let (x, slope) = (call.wanted(0)?, call.wanted(1)?);
    let above = call.push(Operator::Unary(Function::Relu), vec![x.clone()])?;
    let negative = call.push(Operator::Unary(Function::Neg), vec![x])?;
    let below = call.push(Operator::Unary(Function::Relu), vec![negative])?;
    let below = call.push(Operator::Binary(Binary::Mul), vec![below, slope])?;
    Ok(vec![call.push(Operator::Binary(Binary::Sub), vec![above, below])?])
}

/// A function of two inputs. Operators before version 7 spread from `axis` on.
pub fn binary(call: &mut Call<'_>, function: Binary) -> Made {
    call.takes(2)?;
    let (a, mut b) = (call.wanted(0)?, call.wanted(1)?);
    if call.opset < 7 {
        let spreads = call.attributes.flag("broadcast")?;
        let (rank, own) = (call.dims(0).len(), call.dims(1));
        let axis = call.attributes.int("axis")?;
        if let Some(axis) = axis.filter(|_| spreads) {
            let axis = axis_of(axis, rank)?;
            let mut dims = own.clone();
            dims.resize((rank - axis).max(own.len()), 1);
            b = call.reshape(b, dims)?;
        }
    }
    Ok(vec![call.push(Operator::Binary(function), vec![a, b])?])
}

/// `Mod`, of which there are two.
pub fn modulo(call: &mut Call<'_>) -> Made {
    let function = if call.attributes.flag("fmod")? { Binary::Fmod } else { Binary::Mod };
    binary(call, function)
}

/// `Sum`, `Mean`, `Max`, `Min` of any number of inputs.
pub fn variadic(call: &mut Call<'_>, function: Binary) -> Made {
    let mut all = call.wanted(0)?;
    for at in 1..call.inputs.len() {
        let next = call.wanted(at)?;
        all = call.push(Operator::Binary(function), vec![all, next])?;
    }
    if call.operator == "Mean" {
        let count = Call::scalar(call.inputs.len() as f32);
        all = call.push(Operator::Binary(Binary::Div), vec![all, count])?;
    }
    Ok(vec![all])
}

/// `ReduceMean` and its like. Axes were an attribute once.
pub fn reduce(call: &mut Call<'_>) -> Made {
    let rank = call.dims(0).len();
    let keep = call.attributes.int("keepdims")?.unwrap_or(1) != 0;
    let does_nothing = call.attributes.flag("noop_with_empty_axes")?;
    let axes = call.ints_of("axes", 1)?.unwrap_or_default();
    let axes = match axes.is_empty() {
        true if does_nothing
            && matches!(call.operator, "ReduceL1" | "ReduceL2" | "ReduceSumSquare") =>
        {
            return Err("reduces nothing, which programs understand differently".into());
        }
        true if does_nothing => return Ok(vec![call.wanted(0)?]),
        true => (0..rank).collect(),
        false => axes_of(&axes, rank)?,
    };
    let mut x = call.wanted(0)?;
    let reduction = match call.operator {
        "ReduceMean" => Reduction::Mean,
        "ReduceSum" => Reduction::Sum,
        "ReduceMax" => Reduction::Max,
        "ReduceMin" => Reduction::Min,
        "ReduceProd" => Reduction::Product,
        "ReduceL2" => Reduction::L2,
        "ReduceL1" => {
            x = call.push(Operator::Unary(Function::Abs), vec![x])?;
            Reduction::Sum
        }
        "ReduceSumSquare" => {
            x = call.push(Operator::Binary(Binary::Mul), vec![x.clone(), x])?;
            Reduction::Sum
        }
        other => return Err(format!("{other} isn't a reduction that is known")),
    };
    Ok(vec![call.push(Operator::Reduce { reduction, axes, keep }, vec![x])?])
}

/// `LpNormalization`: x over its length along an axis.
pub fn lp_normalization(call: &mut Call<'_>) -> Made {
    let axis = axis_of(call.attributes.int("axis")?.unwrap_or(-1), call.dims(0).len())?;
    let mut x = call.wanted(0)?;
    let whole = x.clone();
    let reduction = match call.attributes.int("p")?.unwrap_or(2) {
        1 => {
            x = call.push(Operator::Unary(Function::Abs), vec![x])?;
            Reduction::Sum
        }
        2 => Reduction::L2,
        other => return Err(format!("has a p of {other}; 1 and 2 are known")),
    };
    let length =
        call.push(Operator::Reduce { reduction, axes: vec![axis], keep: true }, vec![x])?;
    // Zeros stay zeros.
    let above = Function::Clip { low: f32::MIN_POSITIVE, high: f32::INFINITY };
    let length = call.push(Operator::Unary(above), vec![length])?;
    Ok(vec![call.push(Operator::Binary(Binary::Div), vec![whole, length])?])
}

/// `Softmax` and `LogSoftmax`: before version 13 over all dimensions from `axis` on.
pub fn softmax(call: &mut Call<'_>) -> Made {
    let dims = call.dims(0);
    let log = call.operator == "LogSoftmax";
    let axis = call.attributes.int("axis")?.unwrap_or(if call.opset < 13 { 1 } else { -1 });
    let axis = axis_of(axis, dims.len())?;
    if call.opset >= 13 || axis + 1 == dims.len() {
        return call.push_first(Operator::Softmax { axis, log });
    }
    let x = call.wanted(0)?;
    let flat = vec![dims[..axis].iter().product(), dims[axis..].iter().product()];
    let x = call.reshape(x, flat)?;
    let x = call.push(Operator::Softmax { axis: 1, log }, vec![x])?;
    Ok(vec![call.reshape(x, dims)?])
}

/// `Where`. A condition that depends on the image is known only as a part of a function of one number.
pub fn choose(call: &mut Call<'_>) -> Made {
    let (x, y) = (call.wanted(1)?, call.wanted(2)?);
    let condition = match call.wanted(0)? {
        Operand::Constant(condition) => condition.array,
        condition => return Ok(vec![call.push(Operator::Where, vec![condition, x, y])?]),
    };
    // One answer for all elements needs no operator.
    let flags = condition.as_bools()?;
    let chosen: [&Operand; 2] = [&x, &y];
    for (flag, operand) in [true, false].into_iter().zip(chosen) {
        let same = crate::onnx::array::spread_of(call.graph.dims(&x), call.graph.dims(&y))?;
        let all = crate::onnx::array::spread_of(&same, condition.dims())?;
        if flags.iter().all(|value| *value == flag) && call.graph.dims(operand) == all {
            return Ok(vec![operand.clone()]);
        }
    }
    Ok(vec![call.push(Operator::Where, vec![condition.into(), x, y])?])
}
