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
    let softmax = read_once(graph, last.value(0)?)?;
    let v = last.value(1)?;
    let rank = graph.shapes[softmax.output.0].len();
    if (softmax.op != Operator::Softmax { axis: rank - 1, log: false }) || rank < 3 {
        return None;
    }
    let (mut scale, mut bias) = (1.0, Operand::Absent);
    let mut scores = read_once(graph, softmax.value(0)?)?;
    while scores.op != Operator::MatMul {
        let inner = match factor(scores) {
            Some((inner, factor)) => {
                scale *= factor;
                inner
            }
            // A bias that is scaled, too, and one of two, are left as they are.
            None if scale == 1.0 && !bias.is_present() => {
                let (inner, constant) = scores.beside_constant(Binary::Add)?;
                bias = Operand::Constant(constant.clone());
                inner
            }
            None => return None,
        };
        scores = read_once(graph, inner)?;
    }
    let (mut q, mut k) = (scores.value(0)?, scores.value(1)?);
    for side in [&mut q, &mut k] {
        if let Some((inner, factor)) = graph.maker(*side).and_then(factor) {
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

/// What makes a value that one node reads.
fn read_once(graph: &OperatorGraph, value: ValueId) -> Option<&OperatorNode> {
    graph.only_reader(value)?;
    graph.maker(value)
}

/// A value that is multiplied by a number, and the number.
fn factor(node: &OperatorNode) -> Option<(ValueId, f32)> {
    let number = |at: usize| node.inputs.get(at)?.constant()?.array.as_float();
    match node.op {
        Operator::Unary(Function::Affine { scale, shift: 0.0 }) => Some((node.value(0)?, scale)),
        Operator::Binary(Binary::Mul) => match (number(0), number(1)) {
            (Some(factor), _) => Some((node.value(1)?, factor)),
            (_, Some(factor)) => Some((node.value(0)?, factor)),
            _ => None,
        },
        Operator::Binary(Binary::Div) => Some((node.value(0)?, 1.0 / number(1)?)),
        _ => None,
    }
}
