//! Functions of one number that are written in several operators.

use std::collections::HashMap;

use super::graph::{Operand, OperatorGraph, ValueId};
use super::op::{Function, Operator};

/// Nodes that a function of one number may be written in.
const MOST_NODES: usize = 16;

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
pub fn function_at(graph: &OperatorGraph, at: usize) -> Option<(Function, ValueId)> {
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
