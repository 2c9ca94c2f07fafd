//! Operators on constants.

use super::array::{
    Array, Elements, Folded, MOST_ELEMENTS, elements_of, places, spread_of, spread_strides,
    strides_of,
};
use super::op::{Binary, Function, Operator, Reduction, product_dims};

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
            let condition = condition.as_bools()?.iter();
            let elements = match (a.elements(), b.elements()) {
                (Elements::Floats(a), Elements::Floats(b)) => Elements::Floats(
                    condition
                        .zip(a.iter().zip(&b[..]))
                        .map(|(c, (a, b))| if *c { *a } else { *b })
                        .collect(),
                ),
                (Elements::Ints(a), Elements::Ints(b)) => Elements::Ints(
                    condition
                        .zip(a.iter().zip(&b[..]))
                        .map(|(c, (a, b))| if *c { *a } else { *b })
                        .collect(),
                ),
                (a, b) => return Err(format!("{} and {} don't go together", a.kind(), b.kind())),
            };
            Array::new(dims, elements)
        }
        Operator::Pad { before, value, .. } => pad(x, before, *value, dims),
        Operator::Softmax { .. }
        | Operator::Conv { .. }
        | Operator::BatchNorm { .. }
        | Operator::LayerNorm { .. }
        | Operator::GroupNorm { .. }
        | Operator::MaxPool { .. }
        | Operator::AvgPool { .. }
        | Operator::Resize { .. } => Err("reads constants alone".into()),
    }
}

fn unary(function: Function, x: &Array) -> Folded<Array> {
    if function == Function::Not {
        let values = x.as_bools()?.iter().map(|value| !value).collect();
        return Array::new(x.dims().to_vec(), Elements::Bools(values));
    }
    if let Elements::Ints(values) = x.elements() {
        let values = match function {
            Function::Neg => values.iter().map(|value| value.wrapping_neg()).collect(),
            Function::Abs => values.iter().map(|value| value.wrapping_abs()).collect(),
            Function::Floor | Function::Ceil | Function::Round => values.clone(),
            _ => return Err("whole numbers stand where floats are wanted".into()),
        };
        return Array::new(x.dims().to_vec(), Elements::Ints(values));
    }
    let values = x.as_floats()?.iter().map(|value| function.of(*value)).collect();
    Array::floats(x.dims().to_vec(), values)
}

impl Function {
    /// Its value, computed in f64 and rounded once.
    pub fn of(self, x: f32) -> f32 {
        self.wide(x.into()) as f32
    }

    /// Its value in f64; NaN stays NaN.
    pub fn wide(self, x: f64) -> f64 {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let softplus = |x: f64| if x > 30.0 { x } else { x.exp().ln_1p() };
        let clip = |x: f64, low: f64, high: f64| {
            if x < low {
                low
            } else if x > high {
                high
            } else {
                x
            }
        };
        match self {
            Function::Relu => {
                if x < 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Function::LeakyRelu { slope } => {
                if x < 0.0 {
                    x * f64::from(slope)
                } else {
                    x
                }
            }
            Function::Clip { low, high } => clip(x, low.into(), high.into()),
            Function::Neg => -x,
            Function::Abs => x.abs(),
            Function::Floor => x.floor(),
            Function::Ceil => x.ceil(),
            Function::Round => x.round_ties_even(),
            Function::Not => f64::from(u8::from(x == 0.0)),
            Function::Sigmoid => sigmoid(x),
            Function::Tanh => x.tanh(),
            Function::HardSigmoid { slope, shift } => {
                clip(f64::from(slope) * x + f64::from(shift), 0.0, 1.0)
            }
            Function::HardSwish => x * clip(x / 6.0 + 0.5, 0.0, 1.0),
            Function::Elu { alpha } => {
                if x < 0.0 {
                    f64::from(alpha) * x.exp_m1()
                } else {
                    x
                }
            }
            Function::Selu { alpha, gamma } if x <= 0.0 => {
                f64::from(gamma) * f64::from(alpha) * x.exp_m1()
            }
            Function::Selu { gamma, .. } => f64::from(gamma) * x,
            Function::Softplus => softplus(x),
            Function::Softsign => x / (1.0 + x.abs()),
            Function::Mish => x * softplus(x).tanh(),
            Function::Gelu => x * 0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2),
            Function::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                x * sigmoid(2.0 * inner)
            }
            Function::QuickGelu => x * sigmoid(1.702 * x),
            Function::Silu => x * sigmoid(x),
            Function::Affine { scale, shift } => f64::from(scale) * x + f64::from(shift),
            Function::Erf => libm::erf(x),
            Function::Sqrt => x.sqrt(),
            Function::Exp => x.exp(),
            Function::Log => x.ln(),
            Function::Reciprocal => 1.0 / x,
        }
    }
}

/// Elements of two arrays side by side, each spread to the shape of both.
fn pairs<'a, T: Copy>(
    dims: &'a [usize],
    (a, a_strides): (&'a [T], &'a [isize]),
    (b, b_strides): (&'a [T], &'a [isize]),
) -> impl Iterator<Item = (T, T)> + 'a {
    places(dims, a_strides, 0).zip(places(dims, b_strides, 0)).map(|(i, j)| (a[i], b[j]))
}

fn binary(function: Binary, a: &Array, b: &Array) -> Folded<Array> {
    let dims = spread_of(a.dims(), b.dims())?;
    let strides = [a, b].map(|array| spread_strides(array.dims(), &dims).unwrap_or_default());
    let [a_strides, b_strides] = &strides;
    let elements = match (a.elements(), b.elements()) {
        (Elements::Floats(a), Elements::Floats(b)) => {
            let pairs = pairs(&dims, (a, a_strides), (b, b_strides));
            match comparison(function) {
                Some(compare) => Elements::Bools(pairs.map(|(a, b)| compare(&a, &b)).collect()),
                None => Elements::Floats(
                    pairs
                        .map(|(a, b)| function.of_floats(a, b))
                        .collect::<Option<_>>()
                        .ok_or(MISFIT)?,
                ),
            }
        }
        (Elements::Ints(a), Elements::Ints(b)) => {
            let pairs = pairs(&dims, (a, a_strides), (b, b_strides));
            match comparison(function) {
                Some(compare) => Elements::Bools(pairs.map(|(a, b)| compare(&a, &b)).collect()),
                None => {
                    let values = pairs.map(|(a, b)| function.of_ints(a, b)).collect::<Option<_>>();
                    Elements::Ints(
                        values.ok_or("a whole number can't be held, or is divided by 0")?,
                    )
                }
            }
        }
        (Elements::Bools(a), Elements::Bools(b)) => {
            let pairs = pairs(&dims, (a, a_strides), (b, b_strides));
            Elements::Bools(match function {
                Binary::And => pairs.map(|(a, b)| a && b).collect(),
                Binary::Or => pairs.map(|(a, b)| a || b).collect(),
                Binary::Equal => pairs.map(|(a, b)| a == b).collect(),
                _ => return Err("truth values stand where numbers are wanted".into()),
            })
        }
        (a, b) => return Err(format!("{} and {} don't go together", a.kind(), b.kind())),
    };
    Array::new(dims, elements)
}

/// Why two kinds of elements and a function don't go together.
const MISFIT: &str = "truth values are wanted";

/// The comparison that a function is.
fn comparison<T: PartialOrd>(function: Binary) -> Option<fn(&T, &T) -> bool> {
    match function {
        Binary::Equal => Some(T::eq),
        Binary::Less => Some(T::lt),
        Binary::Greater => Some(T::gt),
        Binary::LessOrEqual => Some(T::le),
        Binary::GreaterOrEqual => Some(T::ge),
        _ => None,
    }
}

impl Binary {
    /// Its value in f64, where it is a number.
    pub fn wide(self, a: f64, b: f64) -> Option<f64> {
        Some(match self {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            Binary::Pow => a.powf(b),
            Binary::Max => a.max(b),
            Binary::Min => a.min(b),
            _ => return None,
        })
    }

    fn of_floats(self, a: f32, b: f32) -> Option<f32> {
        Some(match self {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            Binary::Pow => f64::from(a).powf(f64::from(b)) as f32,
            Binary::Max if a.is_nan() || a > b => a,
            Binary::Min if a.is_nan() || a < b => a,
            Binary::Max | Binary::Min => b,
            Binary::Mod => a - b * (a / b).floor(),
            Binary::Fmod => a % b,
            _ => return None,
        })
    }

    fn of_ints(self, a: i64, b: i64) -> Option<i64> {
        match self {
            Binary::Add => a.checked_add(b),
            Binary::Sub => a.checked_sub(b),
            Binary::Mul => a.checked_mul(b),
            Binary::Div => a.checked_div(b),
            Binary::Pow => a.checked_pow(u32::try_from(b).ok()?),
            Binary::Max => Some(a.max(b)),
            Binary::Min => Some(a.min(b)),
            Binary::Mod => {
                let rest = a.checked_rem(b)?;
                Some(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
            }
            Binary::Fmod => a.checked_rem(b),
            _ => None,
        }
    }
}

fn product(a: &Array, b: &Array) -> Folded<Array> {
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
