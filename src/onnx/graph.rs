//! A network as it is understood: operators of every version and exporter in one form, shapes known for
//! one image, constants computed.

use std::sync::Arc;

use super::array::{Array, Folded, elements_of};
use super::fold;
use super::op::{Binary, Operator};

/// Elements that a value may have for one image.
const MOST_VALUES: usize = 1 << 30;

/// A value that is computed from the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub usize);

/// A constant, with the name that it has in the file.
#[derive(Clone, Debug)]
pub struct NamedArray {
    pub array: Array,
    pub name: Option<Arc<str>>,
}

/// What an operator reads.
#[derive(Clone, Debug)]
pub enum Operand {
    /// Left out.
    Absent,
    Constant(NamedArray),
    Value(ValueId),
}

impl From<Array> for Operand {
    fn from(array: Array) -> Operand {
        Operand::Constant(NamedArray { array, name: None })
    }
}

impl Operand {
    /// The constant that it is.
    pub fn constant(&self) -> Option<&NamedArray> {
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

/// An operator in its place.
#[derive(Clone, Debug)]
pub struct OperatorNode {
    /// The name in the file, or where there is none, that of its output.
    pub name: String,
    /// The module's path, where the exporter kept it: `layer1.0.conv1`.
    pub scope: Option<String>,
    pub op: Operator,
    pub inputs: Vec<Operand>,
    pub output: ValueId,
}

impl OperatorNode {
    /// The value that input number `at` is.
    pub fn value(&self, at: usize) -> Option<ValueId> {
        self.inputs.get(at).and_then(Operand::value)
    }

    /// The value and the constant that it is `function` of; `None` for other nodes.
    pub fn beside_constant(&self, function: Binary) -> Option<(ValueId, &NamedArray)> {
        match &self.inputs[..] {
            _ if self.op != Operator::Binary(function) => None,
            [Operand::Value(value), Operand::Constant(constant)]
            | [Operand::Constant(constant), Operand::Value(value)] => Some((*value, constant)),
            _ => None,
        }
    }
}

/// Nodes in an order in which they can be run.
#[derive(Clone, Debug, Default)]
pub struct OperatorGraph {
    pub nodes: Vec<OperatorNode>,
    /// The shape of each value, for one image.
    pub shapes: Vec<Vec<usize>>,
}

/// Where a node comes from.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    pub name: String,
    pub scope: Option<String>,
}

impl OperatorGraph {
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

    /// The node that makes a value.
    pub fn maker(&self, value: ValueId) -> Option<&OperatorNode> {
        let found = self.nodes.binary_search_by_key(&value, |node| node.output).ok()?;
        Some(&self.nodes[found])
    }

    /// The number of the node that alone reads a value, and once.
    pub fn only_reader(&self, value: ValueId) -> Option<usize> {
        let inputs = |at: usize| self.nodes[at].inputs.iter().map(move |i| (at, i.value()));
        let all = (0..self.nodes.len()).flat_map(inputs);
        let mut readers = all.filter(|(_, input)| *input == Some(value));
        let (at, _) = readers.next()?;
        readers.next().is_none().then_some(at)
    }

    /// Adds an operator, or computes it where it reads constants only.
    ///
    /// # Errors
    /// Why it can't be.
    pub fn push(&mut self, origin: &Origin, op: Operator, inputs: Vec<Operand>) -> Folded<Operand> {
        if inputs.iter().all(|input| input.value().is_none()) {
            let arrays: Vec<Option<&Array>> =
                inputs.iter().map(|input| Some(&input.constant()?.array)).collect();
            let array = fold::compute(&op, &arrays)?;
            // Other forms of a weight keep its name.
            let is_form = matches!(op, Operator::Reshape { .. } | Operator::Transpose { .. });
            let name = inputs.first().and_then(Operand::constant).and_then(|c| c.name.clone());
            return Ok(Operand::Constant(NamedArray { array, name: name.filter(|_| is_form) }));
        }
        let dims: Vec<&[usize]> = inputs.iter().map(|input| self.dims(input)).collect();
        let dims = op.dims(&dims)?;
        if !(1..=MOST_VALUES).contains(&elements_of(&dims)?) {
            return Err(format!("makes {dims:?} of one image, which is nothing or too large"));
        }
        self.shapes.push(dims);
        let output = ValueId(self.shapes.len() - 1);
        let Origin { name, scope } = origin.clone();
        self.nodes.push(OperatorNode { name, scope, op, inputs, output });
        Ok(Operand::Value(output))
    }
}
