//! Attention that is written out: softmax(scale · Q · K + bias) · V, as one operator.

use super::graph::{Operand, OperatorGraph, OperatorNode, ValueId};
use super::op::{Binary, Function, Operator};

/// Puts the attention whose last product is the node at `at` together. K stays as it is there, its terms along the
/// last dimension but one.
pub fn attention_at(graph: &mut OperatorGraph, at: usize) {
    let Some((scale, inputs)) = written_out(graph, at) else { return };
    let node = &mut graph.nodes[at];
    node.op = Operator::Attention { scale };
    node.inputs = inputs;
}

fn written_out(graph: &OperatorGraph, at: usize) -> Option<(f32, Vec<Operand>)> {
    let last = &graph.nodes[at];
    if last.op != Operator::MatMul {
        return None;
    }
    let softmax = read_once(graph, value(last, 0)?)?;
    let v = value(last, 1)?;
    let rank = graph.shapes[softmax.output.0].len();
    if (softmax.op != Operator::Softmax { axis: rank - 1, log: false }) || rank < 3 {
        return None;
    }
    let (mut scale, mut bias) = (1.0, Operand::Absent);
    let mut scores = read_once(graph, value(softmax, 0)?)?;
    while scores.op != Operator::MatMul {
        let inner = match factor(scores) {
            Some((inner, factor)) => {
                scale *= factor;
                inner
            }
            // A bias that is scaled, too, and one of two, are left as they are.
            None if scale == 1.0 && !bias.is_present() => {
                let (inner, constant) = added_constant(scores)?;
                bias = constant;
                inner
            }
            None => return None,
        };
        scores = read_once(graph, inner)?;
    }
    let (mut q, mut k) = (value(scores, 0)?, value(scores, 1)?);
    for side in [&mut q, &mut k] {
        if let Some((inner, factor)) = maker(graph, *side).and_then(factor) {
            (*side, scale) = (inner, scale * factor);
        }
    }
    let dims = [q, k, v].map(|value| &graph.shapes[value.0]);
    let outer = |dims: &[usize]| dims[..dims.len() - 2].to_vec();
    let is_spread = graph.shapes[scores.output.0] != graph.shapes[softmax.output.0];
    let is_plain =
        !is_spread && dims.iter().all(|own| own.len() == rank && outer(own) == outer(dims[0]));
    let inputs = [q, k, v].map(Operand::Value).into_iter().chain([bias]).collect();
    is_plain.then_some((scale, inputs))
}

fn value(node: &OperatorNode, at: usize) -> Option<ValueId> {
    node.inputs.get(at).and_then(Operand::value)
}

fn maker(graph: &OperatorGraph, value: ValueId) -> Option<&OperatorNode> {
    let found = graph.nodes.binary_search_by_key(&value, |node| node.output).ok()?;
    Some(&graph.nodes[found])
}

/// What makes a value that one node reads.
fn read_once(graph: &OperatorGraph, value: ValueId) -> Option<&OperatorNode> {
    let node = maker(graph, value)?;
    let inputs = graph.nodes.iter().flat_map(|node| &node.inputs);
    let readers = inputs.filter(|input| input.value() == Some(value)).count();
    (readers == 1).then_some(node)
}

/// A value that is multiplied by a number, and the number.
fn factor(node: &OperatorNode) -> Option<(ValueId, f32)> {
    let number = |at: usize| node.inputs.get(at)?.constant()?.array.as_float();
    match node.op {
        Operator::Unary(Function::Affine { scale, shift: 0.0 }) => Some((value(node, 0)?, scale)),
        Operator::Binary(Binary::Mul) => match (number(0), number(1)) {
            (Some(factor), _) => Some((value(node, 1)?, factor)),
            (_, Some(factor)) => Some((value(node, 0)?, factor)),
            _ => None,
        },
        Operator::Binary(Binary::Div) => Some((value(node, 0)?, 1.0 / number(1)?)),
        _ => None,
    }
}

/// A value to which a constant is added, and the constant.
fn added_constant(node: &OperatorNode) -> Option<(ValueId, Operand)> {
    if node.op != Operator::Binary(Binary::Add) {
        return None;
    }
    match (&node.inputs[0], &node.inputs[1]) {
        (Operand::Value(value), constant @ Operand::Constant(_))
        | (constant @ Operand::Constant(_), Operand::Value(value)) => {
            Some((*value, constant.clone()))
        }
        _ => None,
    }
}
