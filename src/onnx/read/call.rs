//! One node of the file on its way into the graph.

use crate::onnx::array::{Array, Folded, elements_of};
use crate::onnx::attributes::Attributes;
use crate::onnx::external::External;
use crate::onnx::graph::{NamedArray, Operand, OperatorGraph, Origin};
use crate::onnx::op::Operator;

/// A node with its inputs, and the graph that it is added to.
pub struct Call<'c> {
    pub operator: &'c str,
    pub inputs: Vec<Operand>,
    /// How many outputs are named.
    pub outputs: usize,
    pub attributes: Attributes<'c>,
    /// The version of the operators.
    pub opset: i64,
    pub origin: Origin,
    pub graph: &'c mut OperatorGraph,
    pub external: &'c External,
}

/// What a call makes: one operand an output.
pub type Made = Folded<Vec<Operand>>;

impl Call<'_> {
    /// Input number `at`, [`Operand::Absent`] where it is left out.
    pub fn input(&self, at: usize) -> Operand {
        self.inputs.get(at).cloned().unwrap_or(Operand::Absent)
    }

    /// Input number `at`, which can't be left out.
    pub fn wanted(&self, at: usize) -> Folded<Operand> {
        match self.input(at) {
            Operand::Absent => Err(format!("its input {at} is missing")),
            operand => Ok(operand),
        }
    }

    /// The shape of input number `at`.
    pub fn dims(&self, at: usize) -> Vec<usize> {
        self.inputs.get(at).map_or(Vec::new(), |input| self.graph.dims(input).to_vec())
    }

    /// Input number `at` as a constant; `None` where it is left out.
    pub fn constant(&self, at: usize) -> Folded<Option<NamedArray>> {
        match self.input(at) {
            Operand::Absent => Ok(None),
            Operand::Constant(constant) => Ok(Some(constant)),
            Operand::Value(_) => {
                Err(format!("its input {at} depends on the image; only a constant is taken there"))
            }
        }
    }

    /// Input number `at` as whole numbers; `None` where it is left out.
    pub fn ints(&self, at: usize) -> Folded<Option<Vec<i64>>> {
        let constant = self.constant(at)?;
        constant.map(|constant| Ok(constant.array.as_ints()?.to_vec())).transpose()
    }

    /// Whole numbers that were an attribute once and are input number `at` now.
    pub fn ints_of(&self, name: &str, at: usize) -> Folded<Option<Vec<i64>>> {
        match self.attributes.ints(name)? {
            Some(values) => Ok(Some(values.to_vec())),
            None => self.ints(at),
        }
    }

    /// Adds an operator.
    pub fn push(&mut self, op: Operator, inputs: Vec<Operand>) -> Folded<Operand> {
        self.graph.push(&self.origin, op, inputs)
    }

    /// Adds an operator of the first input, whose output is the node's.
    pub fn push_first(&mut self, op: Operator) -> Made {
        let x = self.wanted(0)?;
        Ok(vec![self.push(op, vec![x])?])
    }

    /// Another shape of `x`.
    pub fn reshape(&mut self, x: Operand, dims: Vec<usize>) -> Folded<Operand> {
        if elements_of(self.graph.dims(&x))? != elements_of(&dims)? {
            return Err(format!("{:?} isn't a shape of {dims:?}", self.graph.dims(&x)));
        }
        match self.graph.dims(&x) == dims {
            true => Ok(x),
            false => self.push(Operator::Reshape { dims }, vec![x]),
        }
    }

    /// Refuses inputs from number `most` on.
    pub fn takes(&self, most: usize) -> Folded<()> {
        match self.inputs.iter().skip(most).any(Operand::is_present) {
            true => Err(format!("has {} inputs, of which {most} are known", self.inputs.len())),
            false => Ok(()),
        }
    }

    /// A float constant of one element.
    pub fn scalar(value: f32) -> Operand {
        Array::float(value).into()
    }
}

/// A dimension's number out of one that may count from the end.
pub fn axis_of(axis: i64, rank: usize) -> Folded<usize> {
    let wanted = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    wanted
        .and_then(|axis| usize::try_from(axis).ok())
        .filter(|axis| *axis < rank)
        .ok_or_else(|| format!("there is no dimension {axis} of {rank}"))
}

/// As [`axis_of`], for several, each once.
pub fn axes_of(axes: &[i64], rank: usize) -> Folded<Vec<usize>> {
    let mut found = axes.iter().map(|axis| axis_of(*axis, rank)).collect::<Folded<Vec<_>>>()?;
    found.sort_unstable();
    match found.windows(2).any(|pair| pair[0] == pair[1]) {
        true => Err(format!("a dimension stands twice in {axes:?}")),
        false => Ok(found),
    }
}

/// Numbers that can't be negative.
pub fn sizes(values: &[i64]) -> Folded<Vec<usize>> {
    let sizes = values.iter().map(|value| usize::try_from(*value).ok());
    sizes.collect::<Option<_>>().ok_or_else(|| format!("{values:?} has a negative size"))
}

/// Exactly `N` numbers that can't be negative.
pub fn sizes_of<const N: usize>(values: &[i64]) -> Folded<[usize; N]> {
    let sizes = sizes(values)?;
    sizes.try_into().map_err(|_| format!("{values:?} should be {N} numbers"))
}
