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

/// The numbers at which functions are compared: around their kinks, and at nearly every power of ten that f32 has.
/// Beyond 1e38 even those that are alike may overflow at other steps.
fn points() -> Vec<f64> {
    let near = (-80..=80).map(|at| f64::from(at) * 0.125 + 0.0107);
    let far = (-37..=37).flat_map(|power| {
        let size = 3.0 * 10f64.powi(power);
        [-size, size]
    });
    let some = [0.0, -25.0, 25.0, -333.0, 333.0, f64::INFINITY, f64::NEG_INFINITY];
    near.chain(far).chain(some).chain([f64::NAN]).collect()
}

/// Some of them, by which most functions are told apart.
const FEW: [f64; 7] = [-3e37, -1.2393, -0.1143, 3e-12, 0.1357, 2.0107, 3e37];

/// A value, and how far f32 may be from it at the end of the same operations.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rounded {
    value: f64,
    error: f64,
}

/// Half of the distance of 1 from the next f32.
const UNIT: f64 = 1.0 / (1u32 << 24) as f64;

impl Rounded {
    fn exact(value: f64) -> Rounded {
        Rounded { value, error: 0.0 }
    }

    /// A constant of the file, which has been rounded.
    fn constant(value: f64) -> Rounded {
        Rounded { value, error: UNIT * value.abs() }
    }

    /// f(a, b): moved by what both may be off, and rounded.
    fn of([a, b]: [Rounded; 2], f: impl Fn(f64, f64) -> f64) -> Rounded {
        let f = |a, b| overflowing(f(a, b));
        let value = f(a.value, b.value);
        let mut error: f64 = 0.0;
        for (x, y) in [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)] {
            let moved = (f(a.value + x * a.error, b.value + y * b.error) - value).abs();
            // Where it leaps, nothing is known to be near.
            if moved.is_finite() {
                error += moved;
            }
        }
        Rounded { value, error: error + UNIT * value.abs() }
    }

    /// Whether f32 may have this value for `wanted`: a number that isn't finite is only like itself.
    fn is_like(self, wanted: f64) -> bool {
        let wanted = overflowing(wanted);
        if !self.value.is_finite() || !wanted.is_finite() {
            return self.value == wanted || self.value.is_nan() && wanted.is_nan();
        }
        let small = f64::from(f32::MIN_POSITIVE);
        (wanted - self.value).abs() <= 4.0 * self.error + 8.0 * UNIT * wanted.abs() + small
    }
}

/// A number that f32 can't hold is infinite.
fn overflowing(x: f64) -> f64 {
    if x.abs() > f64::from(f32::MAX) { f64::INFINITY.copysign(x) } else { x }
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
        known: &mut HashMap<ValueId, Vec<Rounded>>,
    ) -> Option<Vec<Rounded>> {
        if value == root {
            return Some(self.points.iter().copied().map(Rounded::exact).collect());
        }
        if let Some(values) = known.get(&value) {
            return Some(values.clone());
        }
        if known.len() > MOST_NODES || value < root {
            return None;
        }
        let node = &self.graph.nodes[*self.makers.get(&value)?];
        let mut input = |at: usize| -> Option<Vec<Rounded>> {
            match node.inputs.get(at)? {
                Operand::Value(value) => self.values(*value, root, known),
                Operand::Constant(constant) => {
                    let constant = Rounded::constant(constant.array.as_float()?.into());
                    Some(vec![constant; self.points.len()])
                }
                Operand::Absent => None,
            }
        };
        let values: Vec<Rounded> = match node.op {
            Operator::Unary(function) => {
                let of = |x| Rounded::of([x, Rounded::exact(0.0)], |x, _| function.wide(x));
                input(0)?.into_iter().map(of).collect()
            }
            Operator::Binary(function) => {
                let (a, b) = (input(0)?, input(1)?);
                // All of these are functions of numbers, or none is.
                function.wide(1.0, 1.0)?;
                let of =
                    |(a, b)| Rounded::of([a, b], |a, b| function.wide(a, b).unwrap_or(f64::NAN));
                a.into_iter().zip(b).map(of).collect()
            }
            Operator::Where => {
                let (condition, a, b) = (input(0)?, input(1)?, input(2)?);
                let pairs = a.into_iter().zip(b);
                let one =
                    |(condition, (a, b)): (Rounded, _)| if condition.value != 0.0 { a } else { b };
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
    let output = graph.nodes[at].output;
    let mut found = None;
    for root in roots(graph, &makers, output) {
        let function_of = |points: &[f64]| {
            let expression = Expression { graph, makers: &makers, points };
            let mut known = HashMap::new();
            let values = expression.values(output, root, &mut known)?;
            if known.len() > 1 { named(points, &values) } else { None }
        };
        if function_of(&FEW).is_some()
            && let Some(function) = function_of(&points)
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
fn named(points: &[f64], values: &[Rounded]) -> Option<Function> {
    let finite = || (0..points.len()).filter(|at| points[*at].is_finite());
    let by = |key: &dyn Fn(f64) -> f64| {
        let best = finite().min_by(|a, b| key(points[*a]).total_cmp(&key(points[*b])))?;
        Some((points[best], values[best].value))
    };
    let (low, high) = (by(&|x| x)?.1 as f32, by(&|x| -x)?.1 as f32);
    let (x, y) = by(&|x| (x + 1.0).abs())?;
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
    let (a, b) = ((x, y), by(&|x| (x - 2.0).abs())?);
    let scale = (b.1 - a.1) / (b.0 - a.0);
    known.push(Function::Affine { scale: scale as f32, shift: (a.1 - scale * a.0) as f32 });
    known.into_iter().find(|function| {
        points.iter().zip(values).all(|(x, value)| value.is_like(function.wide(*x)))
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

#[cfg(test)]
mod tests {
    use super::*;
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
