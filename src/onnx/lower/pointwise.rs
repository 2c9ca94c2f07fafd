//! Functions of one value, and of two.

use super::arrange::memory_order;
use super::view::{StridedView, is_run, size_of};
use super::{Binary, NOT_YET, Recorder};
use crate::onnx::array::{Array, Folded, spread_of};
use crate::onnx::graph::OperatorNode;
use crate::onnx::op::Function;
use crate::ops::Op;
use crate::ops::activation::Activation;
use crate::ops::add::Add;
use crate::ops::broadcast::BroadcastBy;
use crate::ops::multiply::Multiply;
use crate::ops::unary::Unary;
use crate::tape::NodeId;
use crate::tensor::Map;

impl Recorder<'_, '_, '_> {
    pub(super) fn unary(&mut self, node: &OperatorNode, function: Function) -> Folded<StridedView> {
        let activation = match function {
            Function::Relu
            | Function::Clip { low: 0.0, high: f32::INFINITY }
            | Function::LeakyRelu { slope: 0.0 } => Activation::Relu,
            Function::Clip { low: 0.0, high: 6.0 } => Activation::Relu6,
            Function::Silu => Activation::Silu,
            Function::Gelu => Activation::Gelu,
            Function::GeluTanh => Activation::GeluTanh,
            Function::QuickGelu => Activation::QuickGelu,
            Function::Sigmoid => Activation::Sigmoid,
            Function::Tanh => Activation::Tanh,
            Function::HardSwish => Activation::HardSwish,
            Function::HardSigmoid { slope, shift } if is_hard_sigmoid(slope, shift) => {
                Activation::HardSigmoid
            }
            Function::Affine { scale: 1.0, shift: 0.0 } => return self.view(node, 0),
            Function::Affine { scale, shift } => return self.line(node, 0, scale, shift),
            Function::Neg => return self.line(node, 0, -1.0, 0.0),
            other => {
                let unary = unary_of(other).ok_or_else(|| {
                    format!("is the function {other:?}, for which the engine has no operation yet")
                })?;
                let view = self.view(node, 0)?;
                return self.each(node, view, unary);
            }
        };
        let view = self.view(node, 0)?;
        self.each(node, view, activation)
    }

    /// A function of each element.
    fn each(
        &mut self,
        node: &OperatorNode,
        view: StridedView,
        op: impl Op + 'static,
    ) -> Folded<StridedView> {
        let view = self.whole(view)?;
        let name = self.names.step(node);
        let y = self.recorded(&name, op, &[view.node])?;
        Ok(StridedView { node: y, ..view })
    }

    /// The view, of which each element of its node is there once.
    pub(super) fn whole(&mut self, view: StridedView) -> Folded<StridedView> {
        if view.is_whole(self.b.map(view.node)) { Ok(view) } else { self.in_order(&view) }
    }

    /// scale · x + shift of input number `at`.
    fn line(
        &mut self,
        node: &OperatorNode,
        at: usize,
        scale: f32,
        shift: f32,
    ) -> Folded<StridedView> {
        let view = self.view(node, at)?;
        let name = self.names.step(node);
        self.line_of(&name, &view, scale, shift)
    }

    /// scale · x + shift of a view, along whichever dimension the channels are.
    pub(super) fn line_of(
        &mut self,
        name: &str,
        view: &StridedView,
        scale: f32,
        shift: f32,
    ) -> Folded<StridedView> {
        let channels = self.b.map(view.node).channels;
        let axis = (0..view.dims.len()).find(|axis| is_run(&view.dims[*axis], channels));
        let axis = axis.or_else(|| view.dims.len().checked_sub(1)).ok_or("takes a vector")?;
        let size = view.sizes()[axis];
        let same = |value: f32| Array::floats(vec![size], vec![value; size]);
        self.affine(name, view, axis, same(scale)?, same(shift)?)
    }

    /// A value and a constant that is spread to its shape, or to which it is.
    fn with_constant(&mut self, node: &OperatorNode, function: Binary) -> Folded<StridedView> {
        let is_first = node.inputs[0].constant().is_some();
        let at = usize::from(is_first);
        let named = node.inputs[1 - at].constant().ok_or("has no constant")?.clone();
        let constant = named.array;
        let dims = self.graph.shapes[node.output.0].clone();
        let mut view = self.view(node, at)?.spread(&dims);
        // [scale, shift] for a number of the constant.
        let line = |c: f32| match (function, is_first) {
            (Binary::Add, _) => Some([1.0, c]),
            (Binary::Mul, _) => Some([c, 0.0]),
            (Binary::Sub, false) => Some([1.0, -c]),
            (Binary::Sub, true) => Some([-1.0, c]),
            (Binary::Div, false) => Some([1.0 / c, 0.0]),
            (Binary::Div, true) => Some([c, 0.0]),
            _ => None,
        };
        if (function, is_first) == (Binary::Div, true) {
            view = self.each(node, view, Unary::Reciprocal)?;
        }
        let values = constant.as_floats()?;
        let lines: Option<Vec<[f32; 2]>> = values.iter().map(|c| line(*c)).collect();
        let Some(lines) = lines else {
            return self.by_number(node, function, is_first, view, &constant);
        };
        let name = self.names.step(node);
        if let [[scale, shift]] = lines[..] {
            return self.line_of(&name, &view, scale, shift);
        }
        let side = |which: usize, dims: &[usize]| {
            Array::floats(dims.to_vec(), lines.iter().map(|line| line[which]).collect())
        };
        // One number a channel runs in the layer before it.
        let missing = dims.len() - constant.dims().len();
        let own: Vec<usize> =
            (0..constant.dims().len()).filter(|d| constant.dims()[*d] > 1).collect();
        if let [axis] = own[..]
            && self.channel_axis(&view) == Some(missing + axis)
        {
            let dims = [lines.len()];
            return self.affine(&name, &view, missing + axis, side(0, &dims)?, side(1, &dims)?);
        }
        if (function, is_first) == (Binary::Sub, true) {
            let name = self.names.free(&format!("{name}.negative"));
            view = self.line_of(&name, &view, -1.0, 0.0)?;
        }
        let (by, which) = match function {
            Binary::Add | Binary::Sub => (BroadcastBy::Add, 1),
            _ => (BroadcastBy::Multiply, 0),
        };
        let is_files = matches!(function, Binary::Add | Binary::Mul);
        let file_name = named.name.as_deref().filter(|_| is_files);
        self.broadcast(node, &view, by, &side(which, constant.dims())?, file_name)
    }

    /// Powers, maxima and minima with one number.
    fn by_number(
        &mut self,
        node: &OperatorNode,
        function: Binary,
        is_first: bool,
        view: StridedView,
        constant: &Array,
    ) -> Folded<StridedView> {
        let wrong =
            || format!("computes with a constant of {:?}, which {NOT_YET}", constant.dims());
        let number = constant.as_float().ok_or_else(wrong)?;
        let bounds = |low: f32, high: f32| Unary::Clip { low, high };
        match (function, is_first) {
            (Binary::Max, _) => self.each(node, view, bounds(number, f32::INFINITY)),
            (Binary::Min, _) => self.each(node, view, bounds(f32::NEG_INFINITY, number)),
            (Binary::Pow, false) if number == 1.0 => Ok(view),
            (Binary::Pow, false) if number == 0.5 => self.each(node, view, Unary::Sqrt),
            (Binary::Pow, false) if number == -1.0 => self.each(node, view, Unary::Reciprocal),
            (Binary::Pow, false) if number == -0.5 => {
                let root = self.each(node, view, Unary::Sqrt)?;
                self.each(node, root, Unary::Reciprocal)
            }
            (Binary::Pow, false) if number == 2.0 => self.multiplied(node, view.clone(), view),
            (Binary::Pow, false) if number == 3.0 => {
                let square = self.multiplied(node, view.clone(), view.clone())?;
                self.multiplied(node, square, view)
            }
            (Binary::Pow, false) => Err(format!("takes the power of {number}, which {NOT_YET}")),
            _ => Err(wrong()),
        }
    }

    pub(super) fn binary(&mut self, node: &OperatorNode, function: Binary) -> Folded<StridedView> {
        if node.inputs.iter().any(|input| input.constant().is_some()) {
            return self.with_constant(node, function);
        }
        let (a, mut b) = (self.view(node, 0)?, self.view(node, 1)?);
        match function {
            Binary::Add => self.added(node, a, b),
            Binary::Sub => {
                let name = format!("{}.negative", self.names.step(node));
                b = self.line_of(&name, &b, -1.0, 0.0)?;
                self.added(node, a, b)
            }
            Binary::Mul => self.multiplied(node, a, b),
            Binary::Div => {
                b = self.each(node, b, Unary::Reciprocal)?;
                self.multiplied(node, a, b)
            }
            _ => Err(NOT_YET.into()),
        }
    }

    /// a + b, spread to each other.
    pub(super) fn added(
        &mut self,
        node: &OperatorNode,
        a: StridedView,
        b: StridedView,
    ) -> Folded<StridedView> {
        let dims = spread_of(&a.sizes(), &b.sizes())?;
        let [a, b] = self.side_by_side(a.spread(&dims), b.spread(&dims))?;
        let name = self.names.step(node);
        let y = self.recorded(&name, Add::new(), &[a.node, b.node])?;
        Ok(StridedView { node: y, ..a })
    }

    /// a · b, spread to each other: one number a channel or pixel isn't copied.
    fn multiplied(
        &mut self,
        node: &OperatorNode,
        a: StridedView,
        b: StridedView,
    ) -> Folded<StridedView> {
        let dims = spread_of(&a.sizes(), &b.sizes())?;
        let (whole, part) = if a.sizes() == dims { (a, b) } else { (b, a) };
        let (whole, factor) = match whole.sizes() == dims && part.sizes() != dims {
            true => self.with_factor(whole, &part)?,
            false => (whole, None),
        };
        let name = self.names.step(node);
        if let Some(factor) = factor {
            let y = self.recorded(&name, Multiply::new(), &[whole.node, factor])?;
            return Ok(StridedView { node: y, ..whole });
        }
        let [a, b] = self.side_by_side(whole.spread(&dims), part.spread(&dims))?;
        let y = self.recorded(&name, Multiply::new(), &[a.node, b.node])?;
        Ok(StridedView { node: y, ..a })
    }

    /// `whole`, and a node with one number of `part` for each of its channels or each of its pixels, if it is spread
    /// like that.
    fn with_factor(
        &mut self,
        whole: StridedView,
        part: &StridedView,
    ) -> Folded<(StridedView, Option<NodeId>)> {
        let rank = whole.dims.len();
        let mut sizes = vec![1; rank - part.dims.len()];
        sizes.extend(part.sizes());
        // An order in which the view is its node's memory.
        let in_memory = |view: &StridedView, map: Map| {
            [memory_order(rank), (0..rank).collect()].into_iter().find(|order| {
                let turned = view.transposed(order);
                is_run(&turned.atoms(), map.elements())
                    && turned.dims.last().is_some_and(|dim| size_of(dim) == map.channels)
            })
        };
        let map = self.b.map(whole.node);
        let (whole, map, order) = match in_memory(&whole, map) {
            Some(order) if whole.start == 0 => (whole, map, order),
            _ => {
                let whole = self.ordered(&whole)?;
                let map = self.b.map(whole.node);
                let Some(order) = in_memory(&whole, map) else { return Ok((whole, None)) };
                (whole, map, order)
            }
        };
        let dims = whole.sizes();
        let (last, pixels) = order.split_last().ok_or("is a single number")?;
        let is_full = |axis: &usize| sizes[*axis] == dims[*axis];
        let is_one = |axis: &usize| sizes[*axis] == 1;
        let target = match (is_full(last), is_one(last)) {
            (true, _) if pixels.iter().all(is_one) => Map::vector(map.channels),
            (_, true) if pixels.iter().all(is_full) => Map { channels: 1, ..map },
            _ => return Ok((whole, None)),
        };
        let part = part.spread(&sizes).transposed(&order);
        let factor = self.packed(&part, target)?;
        Ok((whole, Some(factor)))
    }

    /// Two views of one shape in one order of memory.
    fn side_by_side(&mut self, a: StridedView, b: StridedView) -> Folded<[StridedView; 2]> {
        let same = a.dims == b.dims && a.start == b.start;
        let maps = [&a, &b].map(|view| self.b.map(view.node));
        if same && maps[0] == maps[1] && a.is_whole(maps[0]) {
            return Ok([a, b]);
        }
        Ok([self.ordered(&a)?, self.ordered(&b)?])
    }

    /// The view with its elements in the order that maps have: as they are if they are, else moved.
    fn ordered(&mut self, view: &StridedView) -> Folded<StridedView> {
        let sizes = view.sizes();
        match sizes[..] {
            [1, channels, height, width] => {
                let map = Map::new(height, width, channels);
                let node = self.packed(&view.transposed(&[0, 2, 3, 1]), map)?;
                Ok(StridedView::of_map(node, map))
            }
            _ => self.in_order(view),
        }
    }
}

/// The operation that a function is, if it is none of the common ones.
fn unary_of(function: Function) -> Option<Unary> {
    Some(match function {
        Function::LeakyRelu { slope } => Unary::LeakyRelu { slope },
        Function::Clip { low, high } => Unary::Clip { low, high },
        Function::Elu { alpha } => Unary::Elu { alpha },
        Function::Selu { alpha, gamma } => Unary::Selu { alpha, gamma },
        Function::HardSigmoid { slope, shift } => Unary::HardSigmoid { slope, shift },
        Function::Softplus => Unary::Softplus,
        Function::Softsign => Unary::Softsign,
        Function::Mish => Unary::Mish,
        Function::Erf => Unary::Erf,
        Function::Sqrt => Unary::Sqrt,
        Function::Exp => Unary::Exp,
        Function::Log => Unary::Log,
        Function::Reciprocal => Unary::Reciprocal,
        Function::Abs => Unary::Abs,
        _ => return None,
    })
}

/// Whether it is x/6 + 1/2, as the exporters round that.
fn is_hard_sigmoid(slope: f32, shift: f32) -> bool {
    (slope - 1.0 / 6.0).abs() < 1e-6 && shift == 0.5
}
