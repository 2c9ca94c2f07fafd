//! Functions of one value, and of two.

use super::view::{Atom, StridedView, is_run};
use super::{Binary, NOT_YET, Recorder};
use crate::onnx::array::{Array, Folded};
use crate::onnx::graph::OperatorNode;
use crate::onnx::op::Function;
use crate::ops::activation::Activation;
use crate::ops::add::Add;
use crate::ops::multiply::Multiply;
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
                return Err(format!(
                    "is the function {other:?}, for which the engine has no operation yet"
                ));
            }
        };
        let view = self.view(node, 0)?;
        let view = self.whole(view)?;
        let name = self.names.step(node);
        let y = self.recorded(&name, activation, &[view.node])?;
        Ok(StridedView { node: y, ..view })
    }

    /// The view, of which each element of its node is there once.
    fn whole(&mut self, view: StridedView) -> Folded<StridedView> {
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
    fn line_of(
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

    /// A value and a constant: one number for all, or one along an axis.
    fn with_constant(&mut self, node: &OperatorNode, function: Binary) -> Folded<StridedView> {
        let is_first = node.inputs[0].constant().is_some();
        let at = usize::from(is_first);
        let constant = node.inputs[1 - at].constant().ok_or("has no constant")?.array.clone();
        let dims = &self.graph.shapes[node.output.0];
        if self.dims(node, at) != *dims {
            return Err(format!("spreads a value over a constant, which {NOT_YET}"));
        }
        // [scale, shift] for a number of the constant.
        let line = |c: f32| match (function, is_first) {
            (Binary::Add, _) => Some([1.0, c]),
            (Binary::Mul, _) => Some([c, 0.0]),
            (Binary::Sub, false) => Some([1.0, -c]),
            (Binary::Sub, true) => Some([-1.0, c]),
            (Binary::Div, false) => Some([1.0 / c, 0.0]),
            _ => None,
        };
        let values = constant.as_floats()?;
        let lines: Option<Vec<[f32; 2]>> = values.iter().map(|c| line(*c)).collect();
        let lines = lines.ok_or(NOT_YET)?;
        if let [[scale, shift]] = lines[..] {
            return self.line(node, at, scale, shift);
        }
        // Where the constant isn't 1, counted from the end.
        let missing = dims.len() - constant.dims().len();
        let own: Vec<usize> =
            (0..constant.dims().len()).filter(|d| constant.dims()[*d] > 1).collect();
        let [axis] = own[..] else {
            return Err(format!(
                "computes with a constant of {:?}, which {NOT_YET}",
                constant.dims()
            ));
        };
        let side = |which: usize| {
            Array::floats(vec![lines.len()], lines.iter().map(|line| line[which]).collect())
        };
        let view = self.view(node, at)?;
        let name = self.names.step(node);
        self.affine(&name, &view, missing + axis, side(0)?, side(1)?)
    }

    pub(super) fn binary(&mut self, node: &OperatorNode, function: Binary) -> Folded<StridedView> {
        if node.inputs.iter().any(|input| input.constant().is_some()) {
            return self.with_constant(node, function);
        }
        let dims = self.graph.shapes[node.output.0].clone();
        let (a, mut b) = (self.view(node, 0)?, self.view(node, 1)?);
        let function = match function {
            Binary::Sub => {
                let name = format!("{}.negative", self.names.step(node));
                b = self.line_of(&name, &b, -1.0, 0.0)?;
                Binary::Add
            }
            other => other,
        };
        let (whole, part) = if a.sizes() == dims { (a, b) } else { (b, a) };
        if whole.sizes() != dims {
            return Err(format!("spreads both of its inputs, which {NOT_YET}"));
        }
        let whole = self.whole(whole)?;
        let map = self.b.map(whole.node);
        if part.sizes() == dims {
            let is_alike =
                |a: &StridedView, b: &StridedView| a.dims == b.dims && a.start == b.start;
            let mut views = [whole, part];
            if !is_alike(&views[0], &views[1]) || self.b.map(views[1].node) != map {
                let [a, b] = views;
                views = [self.ordered(&a)?, self.ordered(&b)?];
            }
            let inputs = [views[0].node, views[1].node];
            let name = self.names.step(node);
            let y = match function {
                Binary::Add => self.recorded(&name, Add::new(), &inputs)?,
                Binary::Mul => self.recorded(&name, Multiply::new(), &inputs)?,
                _ => return Err(NOT_YET.into()),
            };
            let [view, _] = views;
            return Ok(StridedView { node: y, ..view });
        }
        if function != Binary::Mul {
            return Err(NOT_YET.into());
        }
        // One number a channel, or one a pixel.
        let spread = part.spread(&dims);
        let own = self.b.map(part.node);
        let over_pixels = own == Map::vector(map.channels);
        let over_channels = own == Map::new(map.height, map.width, 1);
        let wanted = |atom: &Atom| match atom.stride < map.channels as isize {
            true if over_pixels => atom.stride,
            false if over_channels => atom.stride / map.channels as isize,
            _ => 0,
        };
        let fits = |(ours, theirs): (&Vec<Atom>, &Vec<Atom>)| {
            let expected = ours.iter().map(|atom| Atom { stride: wanted(atom), ..*atom });
            super::view::simplified(expected.collect()) == *theirs
        };
        let all = whole.dims.iter().zip(&spread.dims).all(fits);
        if !(over_pixels || over_channels) || part.start != 0 || !all {
            return Err(format!("spreads a value of {:?}, which {NOT_YET}", part.sizes()));
        }
        let name = self.names.step(node);
        let y = self.recorded(&name, Multiply::new(), &[whole.node, part.node])?;
        Ok(StridedView { node: y, ..whole })
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

/// Whether it is x/6 + 1/2, as the exporters round that.
fn is_hard_sigmoid(slope: f32, shift: f32) -> bool {
    (slope - 1.0 / 6.0).abs() < 1e-6 && shift == 0.5
}
