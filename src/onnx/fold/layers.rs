//! Products, convolutions and softmaxes of constants.

use crate::onnx::array::{Array, Folded, elements_of, spread_of, spread_strides};
use crate::onnx::op::{Sliding, product_dims};
use crate::tensor::places;

pub fn product(a: &Array, b: &Array) -> Folded<Array> {
    let dims = product_dims(a.dims(), b.dims())?;
    let two = |dims: &[usize], front: bool| match dims {
        [size] if front => vec![1, *size],
        [size] => vec![*size, 1],
        _ => dims.to_vec(),
    };
    let (left, right) = (two(a.dims(), true), two(b.dims(), false));
    let ([outer_left @ .., m, k], [outer_right @ .., _, n]) = (&left[..], &right[..]) else {
        return Err("isn't a product of matrices".into());
    };
    let (m, k, n) = (*m, *k, *n);
    let outer = spread_of(outer_left, outer_right)?;
    let work = outer.iter().product::<usize>().checked_mul(m * n).and_then(|w| w.checked_mul(k));
    if work.is_none_or(|work| work > 1 << 32) {
        return Err("is too large a product of constants".into());
    }
    let (x, y) = (a.as_floats()?, b.as_floats()?);
    let strides = |dims: &[usize], size: usize| -> Vec<isize> {
        let strides = spread_strides(dims, &outer).unwrap_or_default();
        strides.iter().map(|stride| stride * size as isize).collect()
    };
    let (x_strides, y_strides) = (strides(outer_left, m * k), strides(outer_right, k * n));
    let mut values = Vec::with_capacity(dims.iter().product());
    for (i, j) in places(&outer, &x_strides, 0).zip(places(&outer, &y_strides, 0)) {
        for row in 0..m {
            for column in 0..n {
                let term =
                    |t: usize| f64::from(x[i + row * k + t]) * f64::from(y[j + t * n + column]);
                values.push((0..k).map(term).sum::<f64>() as f32);
            }
        }
    }
    Array::floats(dims, values)
}

pub fn softmax(x: &Array, axis: usize, log: bool) -> Folded<Array> {
    let values = x.as_floats()?;
    let inner: usize = x.dims()[axis + 1..].iter().product();
    let size = x.dims()[axis];
    let mut made = values.to_vec();
    for row in 0..values.len() / size.max(1) {
        let first = row / inner * size * inner + row % inner;
        let places = || (0..size).map(|at| first + at * inner);
        let largest = places().fold(f64::NEG_INFINITY, |most, at| most.max(values[at].into()));
        let shifted = |at: usize| f64::from(values[at]) - largest;
        let sum: f64 = places().map(|at| shifted(at).exp()).sum();
        for at in places() {
            let value = if log { shifted(at) - sum.ln() } else { shifted(at).exp() / sum };
            made[at] = value as f32;
        }
    }
    Array::floats(x.dims().to_vec(), made)
}

pub fn conv(
    window: &Sliding,
    groups: usize,
    inputs: &[Option<&Array>],
    dims: Vec<usize>,
) -> Folded<Array> {
    let [Some(x), Some(weight), bias] = *inputs else { return Err("an input is missing".into()) };
    let ([images, channels, height, width], [outputs, of_group, ..]) = (x.dims(), weight.dims())
    else {
        return Err("isn't a convolution of maps".into());
    };
    let terms = of_group * window.kernel[0] * window.kernel[1];
    let work = elements_of(&dims)?.checked_mul(terms);
    if work.is_none_or(|work| work > 1 << 32) {
        return Err("is too large a convolution of constants".into());
    }
    let bias = bias.map(Array::as_floats).transpose()?;
    let (values, weights) = (x.as_floats()?, weight.as_floats()?);
    let [rows, columns] = [0, 1].map(|axis| dims[2 + axis]);
    let mut made = Vec::with_capacity(dims.iter().product());
    let taps = || (0..window.kernel[0]).flat_map(|i| (0..window.kernel[1]).map(move |j| [i, j]));
    let place = |output: usize, tap: usize, axis: usize| {
        (output * window.stride[axis] + tap * window.dilation[axis])
            .checked_sub(window.before[axis])
            .filter(|at| *at < [*height, *width][axis])
    };
    for image in 0..*images {
        for output in 0..*outputs {
            let first = output / (outputs / groups) * of_group;
            for row in 0..rows {
                for column in 0..columns {
                    let mut sum = bias.map_or(0.0, |bias| f64::from(bias[output]));
                    for channel in 0..*of_group {
                        let plane = (image * channels + first + channel) * height;
                        for [i, j] in taps() {
                            let at = place(row, i, 0).zip(place(column, j, 1));
                            let Some((y, x)) = at else { continue };
                            let tap = (output * of_group + channel) * window.kernel[0] + i;
                            let weight = weights[tap * window.kernel[1] + j];
                            sum += f64::from(values[(plane + y) * width + x]) * f64::from(weight);
                        }
                    }
                    made.push(sum as f32);
                }
            }
        }
    }
    Array::floats(dims, made)
}
