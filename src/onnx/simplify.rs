//! Operators that exporters take apart, put together again, however they were written.

use super::array::Array;
use super::attention::attention_at;
use super::function::function_at;
use super::graph::{NamedArray, Operand, OperatorGraph, ValueId};
use super::op::{Binary, Function, Operator, Reduction};

/// The graph with functions and normalisations in one node each, and without what nobody reads.
pub fn simplify(graph: &mut OperatorGraph, output: &Operand) {
    for at in 0..graph.nodes.len() {
        if let Some((function, root)) = function_at(graph, at) {
            graph.nodes[at].op = Operator::Unary(function);
            graph.nodes[at].inputs = vec![Operand::Value(root)];
        }
    }
    for at in 0..graph.nodes.len() {
        layer_norm_at(graph, at);
        attention_at(graph, at);
    }
    drop_unread(graph, output);
}

/// Takes nodes away that the output doesn't need.
fn drop_unread(graph: &mut OperatorGraph, output: &Operand) {
    let mut read = vec![false; graph.shapes.len()];
    let mut mark = |operand: &Operand| {
        let Some(value) = operand.value() else { return false };
        std::mem::replace(&mut read[value.0], true)
    };
    mark(output);
    let mut kept = Vec::with_capacity(graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes).into_iter().rev() {
        if mark(&Operand::Value(node.output)) {
            node.inputs.iter().for_each(|input| {
                mark(input);
            });
            kept.push(node);
        }
    }
    kept.reverse();
    graph.nodes = kept;
}

/// Mean and variance over the last dimensions, taken apart:
/// d = x − mean(x), d / √(mean(d²) + eps), · weight, + bias.
fn layer_norm_at(graph: &mut OperatorGraph, at: usize) {
    let Some((x, axis, eps)) = normalized_at(graph, at) else { return };
    let wanted = graph.shapes[x.0][axis..].to_vec();
    let one = |value: f32| Array::floats(wanted.clone(), vec![value; wanted.iter().product()]);
    let (Ok(ones), Ok(zeros)) = (one(1.0), one(0.0)) else { return };
    let (mut last, mut weight, mut bias) = (at, Operand::from(ones), Operand::from(zeros));
    for function in [Binary::Mul, Binary::Add] {
        let Some(next) = graph.only_reader(graph.nodes[last].output) else { break };
        let Some((_, named)) = graph.nodes[next].beside_constant(function) else { break };
        let own =
            named.array.dims().iter().copied().skip_while(|size| *size == 1).collect::<Vec<_>>();
        if own != wanted {
            break;
        }
        let Ok(array) = named.array.reshaped(wanted.clone()) else { break };
        let constant = Operand::Constant(NamedArray { array, name: named.name.clone() });
        match function {
            Binary::Mul => weight = constant,
            _ => bias = constant,
        }
        last = next;
    }
    let node = &mut graph.nodes[last];
    node.op = Operator::LayerNorm { axis, eps };
    node.inputs = vec![Operand::Value(x), weight, bias];
}

/// What is normalised by the division, or product with a reciprocal, at `at`; from which dimension on, with
/// which eps.
fn normalized_at(graph: &OperatorGraph, at: usize) -> Option<(ValueId, usize, f32)> {
    let node = &graph.nodes[at];
    // √(variance + eps), and what it divides.
    let (difference, root) = match node.op {
        Operator::Binary(Binary::Div) => (node.value(0)?, node.value(1)?),
        Operator::Binary(Binary::Mul) => {
            let inverse = |at: usize| {
                let maker = graph.maker(node.value(at)?)?;
                (maker.op == Operator::Unary(Function::Reciprocal)).then(|| maker.value(0))?
            };
            match (inverse(0), inverse(1)) {
                (Some(root), _) => (node.value(1)?, root),
                (_, Some(root)) => (node.value(0)?, root),
                _ => return None,
            }
        }
        _ => return None,
    };
    let root = graph.maker(root).filter(|root| root.op == Operator::Unary(Function::Sqrt))?;
    let inner = graph.maker(root.value(0)?)?;
    let (variance, eps) = match &inner.op {
        Operator::Unary(Function::Affine { scale: 1.0, shift }) => (inner.value(0)?, *shift),
        _ => {
            let (variance, eps) = inner.beside_constant(Binary::Add)?;
            (variance, eps.array.as_float()?)
        }
    };
    let mean_of = |id: ValueId| -> Option<(ValueId, &[usize])> {
        let maker = graph.maker(id)?;
        match &maker.op {
            Operator::Reduce { reduction: Reduction::Mean, axes, keep: true } => {
                Some((maker.value(0)?, axes))
            }
            _ => None,
        }
    };
    let (square, axes) = mean_of(variance)?;
    let square = graph.maker(square)?;
    let is_square = match square.op {
        Operator::Binary(Binary::Mul) => square.value(1) == Some(difference),
        Operator::Binary(Binary::Pow) => {
            square.inputs[1].constant().and_then(|two| two.array.as_float()) == Some(2.0)
        }
        _ => false,
    };
    if !is_square || square.value(0) != Some(difference) {
        return None;
    }
    let minus = graph.maker(difference).filter(|node| node.op == Operator::Binary(Binary::Sub))?;
    let x = minus.value(0)?;
    let (averaged, other) = mean_of(minus.value(1)?)?;
    let rank = graph.shapes[x.0].len();
    let is_last = !axes.is_empty() && axes.iter().copied().eq(rank - axes.len()..rank);
    (averaged == x && other == axes && is_last).then_some((x, rank - axes.len(), eps))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::array::Array;
    use crate::onnx::graph::Origin;

    fn value(graph: &mut OperatorGraph, op: Operator, inputs: Vec<Operand>) -> Operand {
        graph.push(&Origin::default(), op, inputs).unwrap()
    }

    fn number(value: f32) -> Operand {
        Array::float(value).into()
    }

    /// The functions that are left of a graph of one, written by `write`.
    fn left(write: impl Fn(&mut OperatorGraph, Operand) -> Operand) -> Vec<Operator> {
        let mut graph = OperatorGraph::default();
        let x = Operand::Value(graph.input(vec![1, 4]));
        let y = write(&mut graph, x);
        simplify(&mut graph, &y);
        graph.nodes.into_iter().map(|node| node.op).collect()
    }

    fn unary(graph: &mut OperatorGraph, function: Function, x: Operand) -> Operand {
        value(graph, Operator::Unary(function), vec![x])
    }

    fn binary(graph: &mut OperatorGraph, function: Binary, a: Operand, b: Operand) -> Operand {
        value(graph, Operator::Binary(function), vec![a, b])
    }

    #[test]
    fn functions_that_are_written_out_are_one() {
        let gelu = left(|graph, x| {
            let inner = binary(graph, Binary::Div, x.clone(), number(std::f32::consts::SQRT_2));
            let inner = unary(graph, Function::Erf, inner);
            let inner = binary(graph, Binary::Add, inner, number(1.0));
            let half = binary(graph, Binary::Mul, x, number(0.5));
            binary(graph, Binary::Mul, half, inner)
        });
        assert_eq!(gelu, [Operator::Unary(Function::Gelu)]);
        let silu = left(|graph, x| {
            let gate = unary(graph, Function::Sigmoid, x.clone());
            binary(graph, Binary::Mul, x, gate)
        });
        assert_eq!(silu, [Operator::Unary(Function::Silu)]);
        let elu = left(|graph, x| {
            let above = binary(graph, Binary::Greater, x.clone(), number(0.0));
            let below = unary(graph, Function::Exp, x.clone());
            let below = binary(graph, Binary::Sub, below, number(1.0));
            let below = binary(graph, Binary::Mul, below, number(0.7));
            value(graph, Operator::Where, vec![above, x, below])
        });
        let [Operator::Unary(Function::Elu { alpha })] = elu[..] else { panic!("{elu:?}") };
        assert!((alpha - 0.7).abs() < 1e-6, "{alpha}");
        let limited = left(|graph, x| {
            let above = unary(graph, Function::Relu, x);
            binary(graph, Binary::Min, above, number(1e6))
        });
        assert_eq!(limited, [Operator::Unary(Function::Clip { low: 0.0, high: 1e6 })]);
    }

    /// What a fault makes infinite or NaN must not come out of a limit that is nowhere left, and an epsilon is what
    /// keeps a reciprocal finite.
    #[test]
    fn limits_and_epsilons_are_kept() {
        let clipped = |function: Function| {
            left(move |graph, x| {
                let y = unary(graph, function, x);
                unary(graph, Function::Clip { low: f32::NEG_INFINITY, high: 1e4 }, y)
            })
        };
        for function in [Function::Silu, Function::Softplus, Function::HardSwish, Function::Gelu] {
            assert_eq!(clipped(function).len(), 2, "{function:?}");
        }
        for (function, last) in [
            (Function::Relu, Function::Reciprocal),
            (Function::Relu, Function::Log),
            (Function::Sigmoid, Function::Log),
        ] {
            let kept = left(|graph, x| {
                let y = unary(graph, function, x);
                let y = binary(graph, Binary::Add, y, number(1e-10));
                unary(graph, last, y)
            });
            assert_eq!(kept.len(), 3, "{function:?} {last:?}: {kept:?}");
        }
        let none = left(|graph, x| {
            let zero = binary(graph, Binary::Mul, x, number(0.0));
            unary(graph, Function::Reciprocal, zero)
        });
        assert_eq!(none.len(), 2, "{none:?}");
        let root = left(|graph, x| {
            let square = binary(graph, Binary::Mul, x.clone(), x);
            let above = binary(graph, Binary::Add, square, number(1e-12));
            unary(graph, Function::Sqrt, above)
        });
        assert!(root.len() > 1, "{root:?}");
        // f32 overflows where e^x does.
        let softplus = left(|graph, x| {
            let e = unary(graph, Function::Exp, x);
            let sum = binary(graph, Binary::Add, e, number(1.0));
            unary(graph, Function::Log, sum)
        });
        assert_eq!(softplus.len(), 3, "{softplus:?}");
    }
}
