//! Operators with weights: convolutions, products, normalisations.

use super::call::{Call, Made, axis_of, sizes_of};
use super::maps::sliding;
use crate::onnx::array::Folded;
use crate::onnx::graph::Operand;
use crate::onnx::op::{Binary, Function, Operator, Reduction};

/// `Conv`, along one or two axes.
pub fn conv(call: &mut Call<'_>) -> Made {
    call.takes(3)?;
    let weight = call.constant(1)?.ok_or("has no weight")?;
    let bias = call.constant(2)?.map_or(Operand::Absent, Operand::Constant);
    let [groups] = sizes_of(&[call.attributes.int("group")?.unwrap_or(1)])?;
    let dims = weight.array.dims().to_vec();
    let [outputs, inputs, kernel @ ..] = &dims[..] else {
        return Err(format!("has a weight of {dims:?}"));
    };
    let from = call.dims(0);
    if from.len() != dims.len() {
        return Err(format!("its weight of {dims:?} doesn't fit {from:?}"));
    }
    match *kernel {
        [rows, columns] => {
            let window = sliding(call, [rows, columns])?;
            let x = call.wanted(0)?;
            let conv = Operator::Conv { window, groups };
            Ok(vec![call.push(conv, vec![x, Operand::Constant(weight), bias])?])
        }
        // One axis: a map of one row.
        [size] => {
            let window = sliding(call, [1, size])?;
            let x = call.wanted(0)?;
            let x = call.reshape(x, vec![from[0], from[1], 1, from[2]])?;
            let flat = vec![*outputs, *inputs, 1, size];
            let weight = call.reshape(Operand::Constant(weight), flat)?;
            let y = call.push(Operator::Conv { window, groups }, vec![x, weight, bias])?;
            let made = call.graph.dims(&y);
            let dims = vec![made[0], made[1], made[3]];
            Ok(vec![call.reshape(y, dims)?])
        }
        _ => Err(format!("has a weight of {dims:?}: only one or two axes are taken")),
    }
}

/// `Gemm`: α · A · B + β · C, either factor transposed.
pub fn gemm(call: &mut Call<'_>) -> Made {
    call.takes(3)?;
    let (alpha, beta) = (call.attributes.float("alpha", 1.0)?, call.attributes.float("beta", 1.0)?);
    let (turn_a, turn_b) = (call.attributes.flag("transA")?, call.attributes.flag("transB")?);
    call.attributes.ignore(&["broadcast"]);
    if call.dims(0).len() != 2 || call.dims(1).len() != 2 {
        return Err("takes matrices".into());
    }
    let turned = |call: &mut Call<'_>, x: Operand, turn: bool| match turn {
        true => call.push(Operator::Transpose { order: vec![1, 0] }, vec![x]),
        false => Ok(x),
    };
    let (a, b, c) = (call.wanted(0)?, call.wanted(1)?, call.input(2));
    let (a, b) = (turned(call, a, turn_a)?, turned(call, b, turn_b)?);
    let mut y = product(call, a, b)?;
    let scaled = |call: &mut Call<'_>, x: Operand, factor: f32| match factor {
        1.0 => Ok(x),
        factor => call.push(Operator::Binary(Binary::Mul), vec![x, Call::scalar(factor)]),
    };
    y = scaled(call, y, alpha)?;
    if c.is_present() && beta != 0.0 {
        let c = scaled(call, c, beta)?;
        y = call.push(Operator::Binary(Binary::Add), vec![y, c])?;
    }
    Ok(vec![y])
}

/// `MatMul`.
pub fn matmul(call: &mut Call<'_>) -> Made {
    call.takes(2)?;
    let (a, b) = (call.wanted(0)?, call.wanted(1)?);
    Ok(vec![product(call, a, b)?])
}

/// A · B. A constant matrix on the left is multiplied from the right: (Bᵀ · Aᵀ)ᵀ.
fn product(call: &mut Call<'_>, a: Operand, b: Operand) -> Folded<Operand> {
    let rank = call.graph.dims(&b).len();
    if a.constant().is_none() || b.value().is_none() || call.graph.dims(&a).len() != 2 || rank < 2 {
        return call.push(Operator::MatMul, vec![a, b]);
    }
    let mut order: Vec<usize> = (0..rank).collect();
    order.swap(rank - 2, rank - 1);
    let turn = |call: &mut Call<'_>, x: Operand| {
        call.push(Operator::Transpose { order: order.clone() }, vec![x])
    };
    let weight = call.push(Operator::Transpose { order: vec![1, 0] }, vec![a])?;
    let turned = turn(call, b)?;
    let y = call.push(Operator::MatMul, vec![turned, weight])?;
    turn(call, y)
}

/// A constant input, one number a channel.
fn numbers(call: &Call<'_>, at: usize) -> Folded<Operand> {
    call.constant(at)?.map(Operand::Constant).ok_or_else(|| format!("its input {at} is missing"))
}

/// `BatchNormalization` by running statistics.
pub fn batch_norm(call: &mut Call<'_>) -> Made {
    call.takes(5)?;
    let eps = call.attributes.float("epsilon", 1e-5)?;
    let momentum = call.attributes.float("momentum", 0.9)?;
    call.attributes.ignore(&["is_test", "consumed_inputs"]);
    let is_training = call.attributes.flag("training_mode")?;
    let spatial = call.attributes.int("spatial")?.unwrap_or(1);
    let is_constant = call.wanted(0)?.constant().is_some();
    if spatial != 1 || is_training && !is_constant {
        return Err("takes the batch's statistics: export the network in evaluation mode".into());
    }
    if is_constant {
        return normalized(call, eps, is_training.then_some(momentum));
    }
    let mut inputs = vec![call.wanted(0)?];
    for at in 1..5 {
        inputs.push(numbers(call, at)?);
    }
    Ok(vec![call.push(Operator::BatchNorm { eps }, inputs)?])
}

/// A constant by the statistics that are given or, with a momentum, by its own, as weights are standardised (Qiao et al.,
/// 2019); then the running ones come out, too.
fn normalized(call: &mut Call<'_>, eps: f32, momentum: Option<f32>) -> Made {
    let dims = call.dims(0);
    let channels = *dims.get(1).ok_or("has no channels")?;
    let mut along = vec![1; dims.len()];
    along[1] = channels;
    let binary = |call: &mut Call<'_>, function: Binary, a: &Operand, b: &Operand| {
        call.push(Operator::Binary(function), vec![a.clone(), b.clone()])
    };
    let given: Vec<Operand> = (1..5).map(|at| numbers(call, at)).collect::<Folded<_>>()?;
    let given: Vec<Operand> =
        given.into_iter().map(|one| call.reshape(one, along.clone())).collect::<Folded<_>>()?;
    let [scale, bias, mean, variance] = &given[..] else { return Err("lacks numbers".into()) };
    let x = call.wanted(0)?;
    let axes: Vec<usize> = (0..dims.len()).filter(|axis| *axis != 1).collect();
    let mean_of = Operator::Reduce { reduction: Reduction::Mean, axes, keep: true };
    let own = match momentum {
        None => [mean.clone(), variance.clone()],
        Some(_) => {
            let mean = call.push(mean_of.clone(), vec![x.clone()])?;
            let apart = binary(call, Binary::Sub, &x, &mean)?;
            let square = binary(call, Binary::Mul, &apart, &apart)?;
            [mean, call.push(mean_of, vec![square])?]
        }
    };
    let apart = binary(call, Binary::Sub, &x, &own[0])?;
    let wide = binary(call, Binary::Add, &own[1], &Call::scalar(eps))?;
    let root = call.push(Operator::Unary(Function::Sqrt), vec![wide])?;
    let y = binary(call, Binary::Div, &apart, &root)?;
    let y = binary(call, Binary::Mul, &y, scale)?;
    let mut made = vec![binary(call, Binary::Add, &y, bias)?];
    if let Some(momentum) = momentum {
        for (running, own) in [mean, variance].into_iter().zip(&own) {
            let kept = binary(call, Binary::Mul, running, &Call::scalar(momentum))?;
            let new = binary(call, Binary::Mul, own, &Call::scalar(1.0 - momentum))?;
            let sum = binary(call, Binary::Add, &kept, &new)?;
            made.push(call.reshape(sum, vec![channels])?);
        }
    }
    Ok(made)
}

/// `LayerNormalization` over the dimensions from `axis` on.
pub fn layer_norm(call: &mut Call<'_>) -> Made {
    call.takes(3)?;
    let eps = call.attributes.float("epsilon", 1e-5)?;
    let axis = axis_of(call.attributes.int("axis")?.unwrap_or(-1), call.dims(0).len())?;
    check_stash(call)?;
    let bias = call.constant(2)?.map_or(Operand::Absent, Operand::Constant);
    let inputs = vec![call.wanted(0)?, numbers(call, 1)?, bias];
    let wanted = &call.dims(0)[axis..];
    let fits = |operand: &Operand| !operand.is_present() || call.graph.dims(operand) == wanted;
    if !inputs[1..].iter().all(fits) {
        return Err(format!("its numbers aren't {wanted:?}"));
    }
    Ok(vec![call.push(Operator::LayerNorm { axis, eps }, inputs)?])
}

/// Statistics are computed in float32.
fn check_stash(call: &Call<'_>) -> Folded<()> {
    match call.attributes.int("stash_type")?.unwrap_or(1) {
        1 => Ok(()),
        other => Err(format!(
            "computes its statistics in {}",
            crate::onnx::array::type_name(other as i32)
        )),
    }
}

/// `GroupNormalization`: until version 20 its scales are one a group.
pub fn group_norm(call: &mut Call<'_>) -> Made {
    call.takes(3)?;
    let eps = call.attributes.float("epsilon", 1e-5)?;
    let [groups] = sizes_of(&[call.attributes.int("num_groups")?.unwrap_or(0)])?;
    check_stash(call)?;
    let channels = call.dims(0).get(1).copied().unwrap_or(0);
    if groups == 0 || channels == 0 || !channels.is_multiple_of(groups) {
        return Err(format!("{groups} groups don't part {channels} channels"));
    }
    let mut inputs = vec![call.wanted(0)?];
    for at in 1..3 {
        let one = numbers(call, at)?;
        let count = call.graph.dims(&one).iter().product::<usize>();
        inputs.push(match count == groups && groups != channels {
            true => {
                let column = call.reshape(one, vec![groups, 1])?;
                let dims = vec![groups, channels / groups];
                let spread = call.push(Operator::Expand { dims }, vec![column])?;
                call.reshape(spread, vec![channels])?
            }
            false => one,
        });
    }
    Ok(vec![call.push(Operator::GroupNorm { groups, eps }, inputs)?])
}

/// `InstanceNormalization`: a group a channel.
pub fn instance_norm(call: &mut Call<'_>) -> Made {
    call.takes(3)?;
    let eps = call.attributes.float("epsilon", 1e-5)?;
    call.attributes.ignore(&["consumed_inputs"]);
    let groups = call.dims(0).get(1).copied().unwrap_or(0);
    let inputs = vec![call.wanted(0)?, numbers(call, 1)?, numbers(call, 2)?];
    Ok(vec![call.push(Operator::GroupNorm { groups, eps }, inputs)?])
}

/// `Einsum`: products of two inputs that a matrix product can do.
pub fn einsum(call: &mut Call<'_>) -> Made {
    call.takes(2)?;
    let equation: String =
        call.attributes.word("equation", "")?.chars().filter(|c| !c.is_whitespace()).collect();
    let unknown = || format!("has the equation {equation:?}, which isn't a matrix product");
    let (left, out) = equation.split_once("->").ok_or_else(unknown)?;
    let (a, b) = left.split_once(',').ok_or_else(unknown)?;
    let (a, b, out) = (a.as_bytes(), b.as_bytes(), out.as_bytes());
    let has = |word: &[u8], letter: &u8| word.contains(letter);
    let is_plain = |word: &[u8], dims: &[usize]| {
        word.len() == dims.len()
            && word.iter().all(u8::is_ascii_alphabetic)
            && (0..word.len()).all(|at| !word[..at].contains(&word[at]))
    };
    let (a_dims, b_dims) = (call.dims(0), call.dims(1));
    if !is_plain(a, &a_dims)
        || !is_plain(b, &b_dims)
        || out.iter().any(|l| !has(a, l) && !has(b, l))
    {
        return Err(unknown());
    }
    let pick = |word: &[u8], test: &dyn Fn(&u8) -> bool| -> Vec<u8> {
        word.iter().copied().filter(|letter| test(letter)).collect()
    };
    let batch = pick(a, &|l| has(b, l) && has(out, l));
    let sum = pick(a, &|l| has(b, l) && !has(out, l));
    let rows = pick(a, &|l| !has(b, l) && has(out, l));
    let columns = pick(b, &|l| !has(a, l) && has(out, l));
    if batch.len() + sum.len() + rows.len() != a.len()
        || batch.len() + sum.len() + columns.len() != b.len()
        || batch.len() + rows.len() + columns.len() != out.len()
    {
        return Err(unknown());
    }
    let size = |letter: &u8| {
        let at = |word: &[u8]| word.iter().position(|other| other == letter);
        at(a).map(|at| a_dims[at]).or_else(|| at(b).map(|at| b_dims[at])).unwrap_or(1)
    };
    let arranged = |call: &mut Call<'_>, at: usize, word: &[u8], parts: [&[u8]; 3]| {
        let letters: Vec<u8> = parts.concat();
        let order = letters.iter().filter_map(|l| word.iter().position(|other| other == l));
        let x = call.wanted(at)?;
        let x = call.push(Operator::Transpose { order: order.collect() }, vec![x])?;
        let dims: Vec<usize> = parts.iter().map(|part| part.iter().map(size).product()).collect();
        call.reshape(x, dims)
    };
    let x = arranged(call, 0, a, [&batch, &rows, &sum])?;
    let y = arranged(call, 1, b, [&batch, &sum, &columns])?;
    let product = product(call, x, y)?;
    let letters: Vec<u8> = [&batch[..], &rows, &columns].concat();
    let product = call.reshape(product, letters.iter().map(size).collect())?;
    let order: Vec<usize> =
        out.iter().filter_map(|l| letters.iter().position(|other| other == l)).collect();
    Ok(vec![call.push(Operator::Transpose { order }, vec![product])?])
}
