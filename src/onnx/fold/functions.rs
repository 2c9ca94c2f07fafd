//! Functions of one number, and of two.

use std::sync::Arc;

use crate::onnx::array::{Array, Elements, Folded, spread_of, spread_strides};
use crate::onnx::op::{Binary, Function};
use crate::tensor::places;

pub fn unary(function: Function, x: &Array) -> Folded<Array> {
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
            Function::Relu => clip(x, 0.0, f64::INFINITY),
            Function::LeakyRelu { slope } if x < 0.0 => x * f64::from(slope),
            Function::Elu { alpha } if x < 0.0 => f64::from(alpha) * x.exp_m1(),
            Function::LeakyRelu { .. } | Function::Elu { .. } => x,
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
            Function::Sin => x.sin(),
            Function::Cos => x.cos(),
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

pub fn binary(function: Binary, a: &Array, b: &Array) -> Folded<Array> {
    let dims = spread_of(a.dims(), b.dims())?;
    let strides = [a, b].map(|array| spread_strides(array.dims(), &dims).unwrap_or_default());
    let [a_strides, b_strides] = &strides;
    let elements = match (a.elements(), b.elements()) {
        (Elements::Floats(a), Elements::Floats(b)) => {
            let pairs = pairs(&dims, (a, a_strides), (b, b_strides));
            let wrong = "truth values are wanted";
            merged(function, pairs, Binary::of_floats, Elements::Floats, wrong)?
        }
        (Elements::Ints(a), Elements::Ints(b)) => {
            let pairs = pairs(&dims, (a, a_strides), (b, b_strides));
            let wrong = "a whole number can't be held, or is divided by 0";
            merged(function, pairs, Binary::of_ints, Elements::Ints, wrong)?
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

/// What a function makes of pairs of numbers: truth values, or what `of` does, of this kind; `wrong` where that can't.
fn merged<T: Copy + PartialOrd>(
    function: Binary,
    pairs: impl Iterator<Item = (T, T)>,
    of: fn(Binary, T, T) -> Option<T>,
    kind: fn(Arc<[T]>) -> Elements,
    wrong: &str,
) -> Folded<Elements> {
    Ok(match comparison(function) {
        Some(compare) => Elements::Bools(pairs.map(|(a, b)| compare(&a, &b)).collect()),
        None => kind(pairs.map(|(a, b)| of(function, a, b)).collect::<Option<_>>().ok_or(wrong)?),
    })
}

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
    /// Its value in f64, 1 and 0 for true and false.
    pub fn wide(self, a: f64, b: f64) -> Option<f64> {
        Some(match self {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            Binary::Pow => a.powf(b),
            Binary::Max | Binary::Min if a.is_nan() || b.is_nan() => f64::NAN,
            Binary::Max => a.max(b),
            Binary::Min => a.min(b),
            _ => f64::from(u8::from(comparison(self)?(&a, &b))),
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
