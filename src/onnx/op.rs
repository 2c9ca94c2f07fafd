//! Operators in the one form that all versions of ONNX's are brought into, and the shapes that they make.

use strum::{EnumString, IntoStaticStr};

use super::array::{Folded, spread_of};

/// A function of one number. Files name it so, but for those that are disabled.
#[derive(Clone, Copy, Debug, PartialEq, EnumString)]
pub enum Function {
    Relu,
    #[strum(disabled)]
    LeakyRelu {
        slope: f32,
    },
    #[strum(disabled)]
    Clip {
        low: f32,
        high: f32,
    },
    Sigmoid,
    Tanh,
    #[strum(disabled)]
    HardSigmoid {
        slope: f32,
        shift: f32,
    },
    HardSwish,
    #[strum(disabled)]
    Elu {
        alpha: f32,
    },
    #[strum(disabled)]
    Selu {
        alpha: f32,
        gamma: f32,
    },
    Softplus,
    Softsign,
    Mish,
    #[strum(disabled)]
    Gelu,
    #[strum(disabled)]
    GeluTanh,
    /// x · σ(1.702 · x)
    #[strum(disabled)]
    QuickGelu,
    #[strum(disabled)]
    Silu,
    /// scale · x + shift
    #[strum(disabled)]
    Affine {
        scale: f32,
        shift: f32,
    },
    Erf,
    Sqrt,
    Exp,
    Log,
    Sin,
    Cos,
    Neg,
    Reciprocal,
    Abs,
    Floor,
    Ceil,
    Round,
    Not,
}

/// A function of two numbers, of shapes that are spread to each other. Files name it so, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Max,
    Min,
    /// With the divisor's sign, as Python's.
    Mod,
    /// With the dividend's sign, as C's `fmod`.
    #[strum(disabled)]
    Fmod,
    Equal,
    Less,
    Greater,
    LessOrEqual,
    GreaterOrEqual,
    And,
    Or,
}

/// How elements become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    Mean,
    Sum,
    Max,
    Min,
    Product,
    /// √Σx²
    L2,
}

/// Rows and columns of a sliding window over the last two dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    /// Before the first row and column.
    pub before: [usize; 2],
    /// Behind the last ones.
    pub after: [usize; 2],
    /// Whether windows that begin in the map or its padding, and end behind it, count.
    pub ceil: bool,
}

impl Sliding {
    /// Outputs along an axis.
    pub fn outputs(&self, axis: usize, size: usize) -> Folded<usize> {
        let extent = (self.kernel[axis].max(1) - 1)
            .checked_mul(self.dilation[axis])
            .and_then(|reach| reach.checked_add(1));
        let padded =
            self.before[axis].checked_add(self.after[axis]).and_then(|pad| pad.checked_add(size));
        let stride = self.stride[axis];
        let fits = extent.zip(padded).filter(|(extent, padded)| extent <= padded && stride > 0);
        let Some((extent, padded)) = fits else {
            return Err(format!("a window of {:?} doesn't fit a map of {size}", self.kernel));
        };
        let room = padded - extent;
        if !self.ceil {
            return Ok(room / stride + 1);
        }
        let outputs = room.div_ceil(stride) + 1;
        // The last window begins in the map or the padding before it.
        Ok(if (outputs - 1) * stride >= size + self.before[axis] { outputs - 1 } else { outputs })
    }
}

/// A range of an axis, `step` apart; steps may be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AxisCut {
    pub start: usize,
    pub step: isize,
    pub size: usize,
}

/// How a map is made larger or smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    Nearest,
    Linear,
    Cubic,
}

/// What an operator does. Names of inputs are ONNX's.
#[derive(Clone, Debug, PartialEq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Operator {
    /// X, W (constant, outputs × inputs a group × rows × columns), B.
    Conv { window: Sliding, groups: usize },
    /// A, B: the last two dimensions are multiplied, the others spread.
    #[strum(serialize = "matmul")]
    MatMul,
    /// X, scale, B, mean, var: along dimension 1.
    BatchNorm { eps: f32 },
    /// X, scale, B: over the dimensions from `axis` on.
    LayerNorm { axis: usize, eps: f32 },
    /// X, scale, B (both of a channel each): over each of `groups` of channels and all behind.
    GroupNorm { groups: usize, eps: f32 },
    /// X
    #[strum(serialize = "activation")]
    Unary(Function),
    /// A, B
    Binary(Binary),
    /// X
    MaxPool { window: Sliding },
    /// X
    AvgPool { window: Sliding, count_include_pad: bool },
    /// X
    Reduce { reduction: Reduction, axes: Vec<usize>, keep: bool },
    /// X
    Softmax { axis: usize, log: bool },
    /// Any number of inputs.
    Concat { axis: usize },
    /// Q, K, V, bias (constant): softmax(scale · Q · K + bias) · V, over the last two dimensions.
    Attention { scale: f32 },
    /// X: a cut of each dimension.
    Slice { cuts: Vec<AxisCut> },
    /// X: entries of an axis by number.
    Take { axis: usize, indices: Vec<usize> },
    /// X: `value` before and behind each dimension.
    Pad { before: Vec<usize>, after: Vec<usize>, value: f32 },
    /// X: cut where the amounts are reflected or repeated.
    #[strum(serialize = "pad")]
    PadFrom { axis: usize, indices: Vec<usize> },
    /// X: the sizes of the last two dimensions, with source coordinates of each output.
    Resize { sampling: Sampling, rows: Vec<f32>, columns: Vec<f32> },
    /// X
    Reshape { dims: Vec<usize> },
    /// X
    Transpose { order: Vec<usize> },
    /// X
    Expand { dims: Vec<usize> },
    /// Condition, X, Y
    Where,
}

impl Operator {
    /// The output's shape.
    ///
    /// # Errors
    /// Why the inputs don't fit.
    pub fn dims(&self, inputs: &[&[usize]]) -> Folded<Vec<usize>> {
        let x = inputs.first().copied().unwrap_or_default();
        let with_map = |channels: usize, window: &Sliding| {
            let [images, _, height, width] = *x else {
                return Err(format!("only maps with rows and columns are taken, not {x:?}"));
            };
            Ok(vec![images, channels, window.outputs(0, height)?, window.outputs(1, width)?])
        };
        match self {
            Operator::Conv { window, groups } => {
                let [outputs, group_inputs, ..] = *inputs[1] else {
                    return Err(format!("a weight of {:?} isn't a convolution's", inputs[1]));
                };
                let fits = *groups > 0
                    && x.len() == 4
                    && group_inputs.checked_mul(*groups) == Some(x[1])
                    && outputs.is_multiple_of(*groups);
                if !fits {
                    return Err(format!("a weight of {:?} doesn't fit {x:?}", inputs[1]));
                }
                match inputs.get(2) {
                    Some(bias) if !bias.is_empty() && **bias != [outputs] => {
                        Err(format!("a bias of {bias:?} doesn't fit {outputs} outputs"))
                    }
                    _ => with_map(outputs, window),
                }
            }
            Operator::MatMul => product_dims(x, inputs[1]),
            Operator::Attention { .. } => product_dims(&product_dims(x, inputs[1])?, inputs[2]),
            Operator::BatchNorm { .. } | Operator::GroupNorm { .. } => {
                let channels = *x.get(1).ok_or("has no channels")?;
                match inputs[1..].iter().all(|dims| dims.is_empty() || **dims == [channels]) {
                    true => Ok(x.to_vec()),
                    false => Err(format!("its numbers don't fit {x:?}")),
                }
            }
            Operator::LayerNorm { .. } | Operator::Unary(_) | Operator::Softmax { .. } => {
                Ok(x.to_vec())
            }
            Operator::Binary(_) => spread_of(x, inputs[1]),
            Operator::MaxPool { window } | Operator::AvgPool { window, .. } => {
                with_map(x.get(1).copied().unwrap_or(0), window)
            }
            Operator::Reduce { axes, keep, .. } => Ok(x
                .iter()
                .enumerate()
                .filter_map(|(axis, size)| match axes.contains(&axis) {
                    true => keep.then_some(1),
                    false => Some(*size),
                })
                .collect()),
            Operator::Concat { axis } => {
                let mut dims = x.to_vec();
                dims[*axis] = 0;
                for input in inputs {
                    let other = (0..dims.len()).filter(|dim| dim != axis);
                    if input.len() != dims.len() || other.into_iter().any(|d| input[d] != x[d]) {
                        return Err(format!("{x:?} and {input:?} can't stand side by side"));
                    }
                    dims[*axis] += input[*axis];
                }
                Ok(dims)
            }
            Operator::Slice { cuts } => Ok(cuts.iter().map(|cut| cut.size).collect()),
            Operator::Take { axis, indices } | Operator::PadFrom { axis, indices } => {
                let mut dims = x.to_vec();
                dims[*axis] = indices.len();
                Ok(dims)
            }
            Operator::Pad { before, after, .. } => {
                let sizes = x.iter().zip(before).zip(after);
                let sums = sizes.map(|((size, before), after)| {
                    size.checked_add(*before).and_then(|size| size.checked_add(*after))
                });
                sums.collect::<Option<_>>().ok_or_else(|| "its padding is too large".into())
            }
            Operator::Resize { rows, columns, .. } => {
                let mut dims = x.to_vec();
                let rank = dims.len();
                (dims[rank - 2], dims[rank - 1]) = (rows.len(), columns.len());
                Ok(dims)
            }
            Operator::Reshape { dims } | Operator::Expand { dims } => Ok(dims.clone()),
            Operator::Transpose { order } => Ok(order.iter().map(|dim| x[*dim]).collect()),
            Operator::Where => spread_of(&spread_of(x, inputs[1])?, inputs[2]),
        }
    }
}

/// The shape of a matrix product; vectors are rows on the left and columns on the right.
pub fn product_dims(a: &[usize], b: &[usize]) -> Folded<Vec<usize>> {
    let wrong = || format!("matrices of {a:?} and {b:?} can't be multiplied");
    let (left, right) = match (a, b) {
        ([], _) | (_, []) => return Err(wrong()),
        ([k], [l]) => return if k == l { Ok(vec![]) } else { Err(wrong()) },
        _ => (
            if a.len() == 1 { vec![1, a[0]] } else { a.to_vec() },
            if b.len() == 1 { vec![b[0], 1] } else { b.to_vec() },
        ),
    };
    let ([outer_left @ .., m, k], [outer_right @ .., l, n]) = (&left[..], &right[..]) else {
        return Err(wrong());
    };
    if k != l {
        return Err(wrong());
    }
    let mut dims = spread_of(outer_left, outer_right)?;
    dims.extend((a.len() > 1).then_some(*m));
    dims.extend((b.len() > 1).then_some(*n));
    Ok(dims)
}
