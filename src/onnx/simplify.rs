//! Operators that exporters take apart, put together again, however they were written.

use std::collections::HashMap;

use super::array::Array;
use super::attention::attention_at;
use super::graph::{Operand, OperatorGraph, OperatorNode, ValueId};
use super::op::{Binary, Function, Operator, Reduction};

/// Nodes that a function of one number may be written in.
const MOST_NODES: usize = 16;

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

/// The numbers at which functions are compared: around their kinks, and far from them.
fn points() -> Vec<f64> {
    let near = (-80..=80).map(|at| f64::from(at) * 0.125 + 0.0107);
    near.chain([-1e4, -333.0, -25.0, 25.0, 333.0, 1e4]).collect()
}

/// What makes up a function of one number.
struct Expression<'g> {
    graph: &'g OperatorGraph,
    makers: &'g HashMap<ValueId, usize>,
    points: &'g [f64],
}

impl Expression<'_> {
    /// The values at all points of `value` as a function of `root`; `None` where it isn't one of few nodes.
    fn values(
        &self,
        value: ValueId,
        root: ValueId,
        known: &mut HashMap<ValueId, Vec<f64>>,
    ) -> Option<Vec<f64>> {
        if value == root {
            return Some(self.points.to_vec());
        }
        if let Some(values) = known.get(&value) {
            return Some(values.clone());
        }
        if known.len() > MOST_NODES || value < root {
            return None;
        }
        let node = &self.graph.nodes[*self.makers.get(&value)?];
        let mut input = |at: usize| -> Option<Vec<f64>> {
            match node.inputs.get(at)? {
                Operand::Value(value) => self.values(*value, root, known),
                Operand::Constant(constant) => {
                    Some(vec![constant.array.as_float()?.into(); self.points.len()])
                }
                Operand::Absent => None,
            }
        };
        let values: Vec<f64> = match node.op {
            Operator::Unary(function) => input(0)?.into_iter().map(|x| function.wide(x)).collect(),
            Operator::Binary(function) => {
                let (a, b) = (input(0)?, input(1)?);
                let of = |(a, b)| function.wide(a, b);
                a.into_iter().zip(b).map(of).collect::<Option<_>>()?
            }
            Operator::Where => {
                let (condition, a, b) = (input(0)?, input(1)?, input(2)?);
                let pairs = a.into_iter().zip(b);
                let one = |(condition, (a, b))| if condition != 0.0 { a } else { b };
                condition.into_iter().zip(pairs).map(one).collect()
            }
            _ => return None,
        };
        known.insert(value, values.clone());
        Some(values)
    }
}

/// The function of a value before it that the node at `at` computes, where several nodes do it.
fn function_at(graph: &OperatorGraph, at: usize) -> Option<(Function, ValueId)> {
    let makers = makers_near(graph, at);
    let points = points();
    let expression = Expression { graph, makers: &makers, points: &points };
    let output = graph.nodes[at].output;
    let mut found = None;
    for root in roots(graph, &makers, output) {
        let mut known = HashMap::new();
        let Some(values) = expression.values(output, root, &mut known) else { continue };
        if known.len() > 1
            && let Some(function) = named(&points, &values)
        {
            // The farthest one: the most nodes.
            found = Some((function, root));
        }
    }
    found
}

/// Which nodes make the values that one node can be a function of.
fn makers_near(graph: &OperatorGraph, at: usize) -> HashMap<ValueId, usize> {
    let mut near = HashMap::new();
    let mut open = vec![at];
    let by_value =
        |value: ValueId| graph.nodes[..at].binary_search_by_key(&value, |node| node.output).ok();
    while let Some(at) = open.pop() {
        let node = &graph.nodes[at];
        let is_part = matches!(node.op, Operator::Unary(_) | Operator::Binary(_) | Operator::Where);
        if near.len() > MOST_NODES || !is_part {
            continue;
        }
        if near.insert(node.output, at).is_none() {
            open.extend(node.inputs.iter().filter_map(Operand::value).filter_map(by_value));
        }
    }
    near
}

/// The values that `output` may be a function of, the nearest first.
fn roots(graph: &OperatorGraph, makers: &HashMap<ValueId, usize>, output: ValueId) -> Vec<ValueId> {
    let mut roots: Vec<ValueId> = Vec::new();
    for at in makers.values() {
        for input in graph.nodes[*at].inputs.iter().filter_map(Operand::value) {
            // Nothing is spread: the function is of each element by itself.
            if graph.shapes[input.0] == graph.shapes[output.0] && !roots.contains(&input) {
                roots.push(input);
            }
        }
    }
    roots.sort_unstable_by_key(|value| std::cmp::Reverse(value.0));
    roots
}

/// The function that has these values.
fn named(points: &[f64], values: &[f64]) -> Option<Function> {
    let at = |x: f64| {
        let nearest = |(a, b): &(usize, usize)| (points[*a] - x).abs() < (points[*b] - x).abs();
        let mut best = 0;
        for place in 1..points.len() {
            if nearest(&(place, best)) {
                best = place;
            }
        }
        (points[best], values[best])
    };
    let (low, high) = (at(-1e4).1 as f32, at(1e4).1 as f32);
    let (x, y) = at(-1.0);
    let mut known = vec![
        Function::Relu,
        Function::Sigmoid,
        Function::Tanh,
        Function::Gelu,
        Function::GeluTanh,
        Function::QuickGelu,
        Function::Silu,
        Function::HardSwish,
        Function::HardSigmoid { slope: 1.0 / 6.0, shift: 0.5 },
        Function::Mish,
        Function::Softplus,
        Function::Reciprocal,
        Function::Abs,
        Function::LeakyRelu { slope: (y / x) as f32 },
        Function::Elu { alpha: (y / x.exp_m1()) as f32 },
    ];
    if low.is_finite() && high.is_finite() && low < high {
        known.push(Function::Clip { low, high });
    }
    let (a, b) = ((points[0], values[0]), (points[150], values[150]));
    let scale = (b.1 - a.1) / (b.0 - a.0);
    known.push(Function::Affine { scale: scale as f32, shift: (a.1 - scale * a.0) as f32 });
    known.into_iter().find(|function| {
        points.iter().zip(values).all(|(x, y)| {
            let wanted = function.wide(*x);
            (wanted - y).abs() <= 1e-6 * wanted.abs().max(y.abs()).max(1e-3)
        })
    })
}

/// The only value among a node's two inputs, and the constant beside it.
fn beside_constant(node: &OperatorNode, function: Binary) -> Option<(ValueId, &Array)> {
    if node.op != Operator::Binary(function) {
        return None;
    }
    match (&node.inputs[0], &node.inputs[1]) {
        (Operand::Value(value), Operand::Constant(constant))
        | (Operand::Constant(constant), Operand::Value(value)) => Some((*value, &constant.array)),
        _ => None,
    }
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
        let value = graph.nodes[last].output;
        let mut readers = (0..graph.nodes.len()).filter(|at| reads(&graph.nodes[*at], value));
        let (Some(next), None) = (readers.next(), readers.next()) else { break };
        let Some((_, array)) = beside_constant(&graph.nodes[next], function) else { break };
        let own = array.dims().iter().copied().skip_while(|size| *size == 1).collect::<Vec<_>>();
        if own != wanted {
            break;
        }
        let Ok(array) = array.reshaped(wanted.clone()) else { break };
        let name = graph.nodes[next].inputs.iter().find_map(|i| i.constant()?.name.clone());
        let constant = Operand::Constant(super::graph::NamedArray { array, name });
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

fn reads(node: &OperatorNode, value: ValueId) -> bool {
    node.inputs.iter().any(|input| input.value() == Some(value))
}

/// What is normalised by the division, or product with a reciprocal, at `at`; from which dimension on, with
/// which eps.
fn normalized_at(graph: &OperatorGraph, at: usize) -> Option<(ValueId, usize, f32)> {
    let node = &graph.nodes[at];
    let makers = |value: ValueId| -> Option<&OperatorNode> {
        let found = graph.nodes[..at].binary_search_by_key(&value, |node| node.output).ok()?;
        Some(&graph.nodes[found])
    };
    let value = |node: &OperatorNode, at: usize| node.inputs.get(at).and_then(Operand::value);
    // √(variance + eps), and what it divides.
    let (difference, root) = match node.op {
        Operator::Binary(Binary::Div) => (value(node, 0)?, value(node, 1)?),
        Operator::Binary(Binary::Mul) => {
            let inverse = |at: usize| {
                let maker = makers(value(node, at)?)?;
                (maker.op == Operator::Unary(Function::Reciprocal)).then(|| value(maker, 0))?
            };
            match (inverse(0), inverse(1)) {
                (Some(root), _) => (value(node, 1)?, root),
                (_, Some(root)) => (value(node, 0)?, root),
                _ => return None,
            }
        }
        _ => return None,
    };
    let root = makers(root).filter(|root| root.op == Operator::Unary(Function::Sqrt))?;
    let inner = makers(value(root, 0)?)?;
    let (variance, eps) = match &inner.op {
        Operator::Unary(Function::Affine { scale: 1.0, shift }) => (value(inner, 0)?, *shift),
        _ => {
            let (variance, eps) = beside_constant(inner, Binary::Add)?;
            (variance, eps.as_float()?)
        }
    };
    let mean_of = |id: ValueId| -> Option<(ValueId, &[usize])> {
        let maker = makers(id)?;
        match &maker.op {
            Operator::Reduce { reduction: Reduction::Mean, axes, keep: true } => {
                Some((value(maker, 0)?, axes))
            }
            _ => None,
        }
    };
    let (square, axes) = mean_of(variance)?;
    let square = makers(square)?;
    let is_square = match square.op {
        Operator::Binary(Binary::Mul) => value(square, 1) == Some(difference),
        Operator::Binary(Binary::Pow) => {
            square.inputs[1].constant().and_then(|two| two.array.as_float()) == Some(2.0)
        }
        _ => false,
    };
    if !is_square || value(square, 0) != Some(difference) {
        return None;
    }
    let minus = makers(difference).filter(|node| node.op == Operator::Binary(Binary::Sub))?;
    let x = value(minus, 0)?;
    let (averaged, other) = mean_of(value(minus, 1)?)?;
    let rank = graph.shapes[x.0].len();
    let is_last = !axes.is_empty() && axes.iter().copied().eq(rank - axes.len()..rank);
    (averaged == x && other == axes && is_last).then_some((x, rank - axes.len(), eps))
}
