//! Values whose elements have to move.

use super::view::{Atom, StridedView, simplified, size_of};
use super::{Operand, Recorder};
use crate::onnx::array::{Folded, strides_of};
use crate::onnx::graph::OperatorNode;
use crate::ops::rearrange::{MOST_STEPS, MoveStep, Piece, Rearrange};
use crate::tape::NodeId;
use crate::tensor::Map;

/// Elements that are moved at once; networks have some millions.
const MOST_ELEMENTS: usize = 1 << 26;
/// Pieces that a value may be put together of.
const MOST_PIECES: usize = 4096;

/// The order of dimensions in memory: channels last for maps, else as they are.
pub(super) fn memory_order(rank: usize) -> Vec<usize> {
    if rank == 4 { vec![0, 2, 3, 1] } else { (0..rank).collect() }
}

/// The map of a tensor in memory order: its last dimension are the channels, the one before it the columns.
pub(super) fn map_of(sizes: &[usize]) -> Map {
    match *sizes {
        [] => Map::vector(1),
        [channels] => Map::vector(channels),
        [ref rows @ .., columns, channels] => Map::new(rows.iter().product(), columns, channels),
    }
}

impl Recorder<'_, '_, '_> {
    /// A node that holds the view's elements, row-major, as `map`.
    pub(super) fn gathered(&mut self, view: &StridedView, map: Map) -> Folded<NodeId> {
        let atoms = simplified(view.atoms());
        let steps = steps_of(&atoms, &to_strides(&atoms));
        let piece = Piece { input: 0, from: view.start, to: 0, steps };
        let name = format!("{}.order", self.b.tape.node(view.node).name);
        let name = self.names.free(&name);
        self.rearranged(&name, map, vec![piece], 0.0, &[view.node])
    }

    fn rearranged(
        &mut self,
        name: &str,
        map: Map,
        pieces: Vec<Piece>,
        fill: f32,
        inputs: &[NodeId],
    ) -> Folded<NodeId> {
        if map.elements() > MOST_ELEMENTS {
            return Err(format!(
                "moves {} elements of one image, which are too many",
                map.elements()
            ));
        }
        if pieces.iter().any(|piece| piece.steps.len() > MOST_STEPS) {
            return Err(format!("moves elements in more than {MOST_STEPS} steps"));
        }
        let op = Rearrange::new(map, pieces, fill).map_err(|error| error.to_string())?;
        self.recorded(name, op, inputs)
    }

    /// The view, its elements row-major in a node of their own.
    pub(super) fn in_order(&mut self, view: &StridedView) -> Folded<StridedView> {
        let sizes = view.sizes();
        let node = self.packed(view, map_of(&sizes))?;
        Ok(StridedView::row_major(node, &sizes))
    }

    /// Values along an axis, each behind the other.
    pub(super) fn concat(&mut self, node: &OperatorNode, axis: usize) -> Folded<StridedView> {
        let dims = self.graph.shapes[node.output.0].clone();
        let mut parts = Vec::new();
        let mut start = 0;
        for (at, input) in node.inputs.iter().enumerate() {
            let view = match input {
                Operand::Constant(constant) if constant.array.len() == 0 => continue,
                Operand::Constant(constant) => self.constant_view(node, constant)?,
                _ => self.view(node, at)?,
            };
            let size = view.sizes()[axis];
            parts.push((start, view));
            start += size;
        }
        let place = |start: usize| {
            let mut place = vec![0; dims.len()];
            place[axis] = start;
            place
        };
        let parts = parts.into_iter().map(|(start, view)| (place(start), view)).collect();
        self.joined(node, &dims, parts, 0.0)
    }

    /// A value of `dims` with views at places of it, `fill` elsewhere.
    fn joined(
        &mut self,
        node: &OperatorNode,
        dims: &[usize],
        parts: Vec<(Vec<usize>, StridedView)>,
        fill: f32,
    ) -> Folded<StridedView> {
        let order = memory_order(dims.len());
        let sizes: Vec<usize> = order.iter().map(|dim| dims[*dim]).collect();
        let strides = strides_of(&sizes);
        let mut inputs: Vec<NodeId> = Vec::new();
        let mut pieces = Vec::new();
        for (place, view) in parts {
            let at: usize = order.iter().zip(&strides).map(|(dim, s)| place[*dim] * s).sum();
            pieces.push(piece_of(&mut inputs, &view.transposed(&order), at, &strides));
        }
        if pieces.len() > MOST_PIECES {
            return Err(format!("is put together of {} pieces, which are too many", pieces.len()));
        }
        let name = self.names.step(node);
        let made = self.rearranged(&name, map_of(&sizes), pieces, fill, &inputs)?;
        let mut back = vec![0; order.len()];
        order.iter().enumerate().for_each(|(at, dim)| back[*dim] = at);
        Ok(StridedView::row_major(made, &sizes).transposed(&back))
    }

    /// Views in a new map, each from its place on; `strides` apart along their dimensions.
    pub(super) fn placed(
        &mut self,
        name: &str,
        map: Map,
        views: &[(usize, &StridedView)],
        strides: &[usize],
    ) -> Folded<NodeId> {
        let (mut inputs, mut pieces) = (Vec::new(), Vec::new());
        for (to, view) in views {
            let is_one_move = piece_of(&mut vec![], view, *to, strides).steps.len() <= MOST_STEPS;
            // In two moves: first in order.
            let view = if is_one_move { (*view).clone() } else { self.in_order(view)? };
            pieces.push(piece_of(&mut inputs, &view, *to, strides));
        }
        self.rearranged(name, map, pieces, 0.0, &inputs)
    }

    /// `value` around a value.
    pub(super) fn pad(
        &mut self,
        node: &OperatorNode,
        before: &[usize],
        value: f32,
    ) -> Folded<StridedView> {
        let dims = self.graph.shapes[node.output.0].clone();
        let view = self.view(node, 0)?;
        self.joined(node, &dims, vec![(before.to_vec(), view)], value)
    }

    /// As [`Recorder::pad`], of rows and columns of a map; `node` names it.
    pub(super) fn bordered(
        &mut self,
        node: &OperatorNode,
        view: StridedView,
        [before, after]: [[usize; 2]; 2],
        value: f32,
    ) -> Folded<StridedView> {
        if before == [0; 2] && after == [0; 2] {
            return Ok(view);
        }
        let mut dims = view.sizes();
        for axis in 0..2 {
            dims[2 + axis] += before[axis] + after[axis];
        }
        self.joined(node, &dims, vec![(vec![0, 0, before[0], before[1]], view)], value)
    }

    /// Entries of an axis by number: runs of evenly spaced ones are a piece each. `node` names it.
    pub(super) fn take(
        &mut self,
        node: &OperatorNode,
        mut view: StridedView,
        axis: usize,
        indices: &[usize],
    ) -> Folded<StridedView> {
        let mut dims = view.sizes();
        dims[axis] = indices.len();
        if view.dims[axis].len() > 1 {
            view = self.in_order(&view)?;
        }
        let stride = view.dims[axis].first().map_or(0, |atom| atom.stride);
        let mut parts = Vec::new();
        let mut start = 0;
        while start < indices.len() {
            let step = |at: usize| indices[at + 1] as isize - indices[at] as isize;
            let mut end = start + 1;
            while end < indices.len() && step(end - 1) == step(start) {
                end += 1;
            }
            let mut part = view.clone();
            let first = indices[start] as isize * stride;
            part.start =
                part.start.checked_add_signed(first).ok_or("reads before its beginning")?;
            let apart = if end - start > 1 { step(start) * stride } else { 0 };
            part.dims[axis] = simplified(vec![Atom { size: end - start, stride: apart }]);
            let mut place = vec![0; dims.len()];
            place[axis] = start;
            parts.push((place, part));
            start = end;
        }
        self.joined(node, &dims, parts, 0.0)
    }
}

/// A view, from place `to` on, its neighbours `strides` apart along each dimension. Its node is one of `inputs`,
/// added if it is none.
fn piece_of(inputs: &mut Vec<NodeId>, view: &StridedView, to: usize, strides: &[usize]) -> Piece {
    let input = inputs.iter().position(|node| *node == view.node).unwrap_or_else(|| {
        inputs.push(view.node);
        inputs.len() - 1
    });
    let (mut from, mut apart) = (Vec::new(), Vec::new());
    for (dim, stride) in view.dims.iter().zip(strides) {
        let mut inner = size_of(dim);
        for atom in dim {
            inner /= atom.size;
            from.push(*atom);
            apart.push(inner * stride);
        }
    }
    Piece { input, from: view.start, to, steps: steps_of(&from, &apart) }
}

/// The distances of neighbours in a row-major output.
fn to_strides(atoms: &[Atom]) -> Vec<usize> {
    strides_of(&atoms.iter().map(|atom| atom.size).collect::<Vec<_>>())
}

/// Atoms with their distances in the output, neighbours that are evenly spaced in both in one.
fn steps_of(from: &[Atom], to: &[usize]) -> Vec<MoveStep> {
    let mut steps: Vec<MoveStep> = Vec::new();
    for (atom, to) in from.iter().zip(to).filter(|(atom, _)| atom.size != 1) {
        match steps.last_mut() {
            Some(last)
                if last.from == atom.stride * atom.size as isize && last.to == to * atom.size =>
            {
                *last = MoveStep { size: last.size * atom.size, from: atom.stride, to: *to };
            }
            _ => steps.push(MoveStep { size: atom.size, from: atom.stride, to: *to }),
        }
    }
    steps
}
