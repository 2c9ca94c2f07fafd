//! Functions of one value, and of two.

use super::layers::is_alike;
use super::view::{Atom, View};
use super::{Binary, Lowering, NOT_REORDERED, NOT_YET, Operand};
use crate::onnx::array::Folded;
use crate::onnx::graph::{Function, Node};
use crate::ops::activation::Activation;
use crate::ops::add::Add;
use crate::ops::multiply::Multiply;
use crate::tensor::Map;

impl Lowering<'_, '_, '_> {
    pub(super) fn unary(&mut self, node: &Node, function: Function) -> Folded<View> {
        let activation = match function {
            Function::Relu => Activation::Relu,
            Function::Clip { low: 0.0, high: 6.0 } => Activation::Relu6,
            Function::Silu => Activation::Silu,
            Function::Gelu => Activation::Gelu,
            Function::GeluTanh => Activation::GeluTanh,
            Function::QuickGelu => Activation::QuickGelu,
            Function::Sigmoid => Activation::Sigmoid,
            Function::Tanh => Activation::Tanh,
            Function::Affine { scale: 1.0, shift: 0.0 } => return self.view(node, 0),
            other => return Err(format!("is the function {other:?}, for which the engine has no operation yet")),
        };
        let view = self.view(node, 0)?;
        if !view.is_whole(self.b.map(view.node)) {
            return Err(NOT_REORDERED.into());
        }
        let name = self.names.step(node);
        let y = self.recorded(&name, activation, &[view.node])?;
        Ok(View { node: y, ..view })
    }

    pub(super) fn binary(&mut self, node: &Node, function: Binary) -> Folded<View> {
        if node.inputs.iter().any(|input| matches!(input, Operand::Constant(_))) {
            return Err(format!("computes with a constant, which {NOT_YET}"));
        }
        let (a, b) = (self.view(node, 0)?, self.view(node, 1)?);
        let dims = &self.graph.shapes[node.output.0];
        let (whole, part) = if a.sizes() == *dims { (a, b) } else { (b, a) };
        let map = self.b.map(whole.node);
        if whole.sizes() != *dims || !whole.is_whole(map) {
            return Err(NOT_REORDERED.into());
        }
        let name = self.names.step(node);
        if part.sizes() == *dims {
            if !is_alike(&whole, &part)? || self.b.map(part.node) != map {
                return Err(NOT_REORDERED.into());
            }
            let inputs = [whole.node, part.node];
            let y = match function {
                Binary::Add => self.recorded(&name, Add::new(), &inputs)?,
                Binary::Mul => self.recorded(&name, Multiply::new(), &inputs)?,
                _ => return Err(NOT_YET.into()),
            };
            return Ok(View { node: y, ..whole });
        }
        if function != Binary::Mul {
            return Err(NOT_YET.into());
        }
        // One number a channel, or one a pixel.
        let spread = part.spread(dims);
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
            return Err(NOT_REORDERED.into());
        }
        let y = self.recorded(&name, Multiply::new(), &[whole.node, part.node])?;
        Ok(View { node: y, ..whole })
    }
}
