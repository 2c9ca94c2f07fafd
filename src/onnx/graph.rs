//! A network as it is understood: operators of every version and exporter in one form, shapes known for
//! one image, constants computed.

use std::sync::Arc;

use super::array::{Array, Folded, elements_of, spread_of};
use super::fold;

/// Elements that a value may have for one image.
const MOST_VALUES: usize = 1 << 30;

/// A value that is computed from the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub usize);

/// A constant, with the name that it has in the file.
#[derive(Clone, Debug)]
pub struct Constant {
    pub array: Array,
    pub name: Option<Arc<str>>,
}

/// What an operator reads.
#[derive(Clone, Debug)]
pub enum Operand {
    /// Left out.
    Absent,
    Constant(Constant),
    Value(ValueId),
}

impl From<Array> for Operand {
    fn from(array: Array) -> Operand {
        Operand::Constant(Constant { array, name: None })
    }
}

impl Operand {
    /// The constant that it is.
    pub fn constant(&self) -> Option<&Constant> {
        match self {
            Operand::Constant(constant) => Some(constant),
            _ => None,
        }
    }

    /// The value that it is.
    pub fn value(&self) -> Option<ValueId> {
        match self {
            Operand::Value(value) => Some(*value),
            _ => None,
        }
    }

    /// Whether it is there.
    pub fn is_present(&self) -> bool {
        !matches!(self, Operand::Absent)
    }
}

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    Relu,
    LeakyRelu {
        slope: f32,
    },
    Clip {
        low: f32,
        high: f32,
    },
    Sigmoid,
    Tanh,
    HardSigmoid {
        slope: f32,
        shift: f32,
    },
    HardSwish,
    Elu {
        alpha: f32,
    },
    Selu {
        alpha: f32,
        gamma: f32,
    },
    Softplus,
    Softsign,
    Mish,
    Gelu,
    GeluTanh,
    /// x · σ(1.702 · x)
    QuickGelu,
    Silu,
    /// scale · x + shift
    Affine {
        scale: f32,
        shift: f32,
    },
    Erf,
    Sqrt,
    Exp,
    Log,
    Neg,
    Reciprocal,
    Abs,
    Floor,
    Ceil,
    Round,
    Not,
}

/// A function of two numbers, of shapes that are spread to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
pub struct Cut {
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
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// X, W (constant, outputs × inputs a group × rows × columns), B.
    Conv { window: Sliding, groups: usize },
    /// A, B: the last two dimensions are multiplied, the others spread.
    MatMul,
    /// X, scale, B, mean, var: along dimension 1.
    BatchNorm { eps: f32 },
    /// X, scale, B: over the dimensions from `axis` on.
    LayerNorm { axis: usize, eps: f32 },
    /// X, scale, B (both of a channel each): over each of `groups` of channels and all behind.
    GroupNorm { groups: usize, eps: f32 },
    /// X
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
    /// X: a cut of each dimension.
    Slice { cuts: Vec<Cut> },
    /// X: entries of an axis by number.
    Take { axis: usize, indices: Vec<usize> },
    /// X: `value` before and behind each dimension.
    Pad { before: Vec<usize>, after: Vec<usize>, value: f32 },
    /// X: cut where the amounts are reflected or repeated.
    PadFrom { axis: usize, indices: Vec<usize> },
    /// X: the sizes of the last two dimensions, with source coordinates of each output.
    Resize { sampling: Sampling, rows: Vec<f32>, columns: Vec<f32> },
    /// X
    Reshape { dims: Vec<usize> },
    /// X
    Transpose { order: Vec<usize> },
    /// X
    Expand { dims: Vec<usize> },
    /// Condition (constant), X, Y
    Where,
}

/// An operator in its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// The name in the file, or where there is none, that of its output.
    pub name: String,
    /// The module's path, where the exporter kept it: `layer1.0.conv1`.
    pub scope: Option<String>,
    pub op: Op,
    pub inputs: Vec<Operand>,
    pub output: ValueId,
}

/// Nodes in an order in which they can be run.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub nodes: Vec<Node>,
    /// The shape of each value, for one image.
    pub shapes: Vec<Vec<usize>>,
}

/// Where a node comes from.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    pub name: String,
    pub scope: Option<String>,
}

impl Graph {
    /// A value that comes from outside.
    pub fn input(&mut self, dims: Vec<usize>) -> ValueId {
        self.shapes.push(dims);
        ValueId(self.shapes.len() - 1)
    }

    /// The shape of a value or constant.
    pub fn dims<'g>(&'g self, operand: &'g Operand) -> &'g [usize] {
        match operand {
            Operand::Absent => &[],
            Operand::Constant(constant) => constant.array.dims(),
            Operand::Value(value) => &self.shapes[value.0],
        }
    }

    /// Adds an operator, or computes it where it reads constants only.
    ///
    /// # Errors
    /// Why it can't be.
    pub fn push(&mut self, origin: &Origin, op: Op, inputs: Vec<Operand>) -> Folded<Operand> {
        if inputs.iter().all(|input| input.value().is_none()) {
            let arrays: Vec<Option<&Array>> =
                inputs.iter().map(|input| Some(&input.constant()?.array)).collect();
            let array = fold::compute(&op, &arrays)?;
            // Other forms of a weight keep its name.
            let is_form = matches!(op, Op::Reshape { .. } | Op::Transpose { .. });
            let name = inputs.first().and_then(Operand::constant).and_then(|c| c.name.clone());
            return Ok(Operand::Constant(Constant { array, name: name.filter(|_| is_form) }));
        }
        let dims: Vec<&[usize]> = inputs.iter().map(|input| self.dims(input)).collect();
        let dims = op.dims(&dims)?;
        if !(1..=MOST_VALUES).contains(&elements_of(&dims)?) {
            return Err(format!("makes {dims:?} of one image, which is nothing or too large"));
        }
        self.shapes.push(dims);
        let output = ValueId(self.shapes.len() - 1);
        let Origin { name, scope } = origin.clone();
        self.nodes.push(Node { name, scope, op, inputs, output });
        Ok(Operand::Value(output))
    }
}

impl Op {
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
            Op::Conv { window, groups } => {
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
                with_map(outputs, window)
            }
            Op::MatMul => product_dims(x, inputs[1]),
            Op::BatchNorm { .. } | Op::GroupNorm { .. } => {
                let channels = *x.get(1).ok_or("has no channels")?;
                match inputs[1..].iter().all(|dims| dims.is_empty() || **dims == [channels]) {
                    true => Ok(x.to_vec()),
                    false => Err(format!("its numbers don't fit {x:?}")),
                }
            }
            Op::LayerNorm { .. } | Op::Unary(_) | Op::Softmax { .. } => Ok(x.to_vec()),
            Op::Binary(_) => spread_of(x, inputs[1]),
            Op::MaxPool { window } | Op::AvgPool { window, .. } => {
                with_map(x.get(1).copied().unwrap_or(0), window)
            }
            Op::Reduce { axes, keep, .. } => Ok(x
                .iter()
                .enumerate()
                .filter_map(|(axis, size)| match axes.contains(&axis) {
                    true => keep.then_some(1),
                    false => Some(*size),
                })
                .collect()),
            Op::Concat { axis } => {
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
            Op::Slice { cuts } => Ok(cuts.iter().map(|cut| cut.size).collect()),
            Op::Take { axis, indices } | Op::PadFrom { axis, indices } => {
                let mut dims = x.to_vec();
                dims[*axis] = indices.len();
                Ok(dims)
            }
            Op::Pad { before, after, .. } => {
                let sizes = x.iter().zip(before).zip(after);
                let sums = sizes.map(|((size, before), after)| {
                    size.checked_add(*before).and_then(|size| size.checked_add(*after))
                });
                sums.collect::<Option<_>>().ok_or_else(|| "its padding is too large".into())
            }
            Op::Resize { rows, columns, .. } => {
                let mut dims = x.to_vec();
                let rank = dims.len();
                (dims[rank - 2], dims[rank - 1]) = (rows.len(), columns.len());
                Ok(dims)
            }
            Op::Reshape { dims } | Op::Expand { dims } => Ok(dims.clone()),
            Op::Transpose { order } => Ok(order.iter().map(|dim| x[*dim]).collect()),
            Op::Where => spread_of(&spread_of(x, inputs[1])?, inputs[2]),
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
