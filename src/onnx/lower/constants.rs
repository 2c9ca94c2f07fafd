//! Constants that values are joined to, or computed with element by element.

use std::sync::Arc;

use super::Recorder;
use super::arrange::{map_of, memory_order};
use super::view::{Atom, StridedView, is_run};
use crate::onnx::array::{Array, Folded, strides_of};
use crate::onnx::graph::{NamedArray, OperatorNode};
use crate::ops::broadcast::{Broadcast, BroadcastBy};
use crate::ops::constant::Constant;
use crate::ops::{Init, ParamSpec, Role};
use crate::tensor::{Map, places};

/// Neighbours in a node's memory, and how far apart a constant's elements for them lie.
#[derive(Clone, Copy, Debug, PartialEq)]
struct SpreadAtom {
    size: usize,
    /// In the node's memory.
    stride: usize,
    /// In the constant; 0 where they share one.
    of_constant: usize,
}

impl Recorder<'_, '_, '_> {
    /// A node that holds a constant, the same for all images. Node and parameter have the constant's name.
    pub(super) fn constant_view(
        &mut self,
        node: &OperatorNode,
        constant: &NamedArray,
    ) -> Folded<StridedView> {
        let order = memory_order(constant.array.dims().len());
        let array = constant.array.transposed(&order)?;
        let map = map_of(array.dims());
        let name = match &constant.name {
            Some(name) => self.names.free(name),
            None => format!("{}.constant", self.names.step(node)),
        };
        let is_moved = array.elements() != constant.array.elements();
        let shape = if is_moved { array.dims() } else { constant.array.dims() }.to_vec();
        let param =
            ParamSpec::plain("constant", shape.clone(), Role::Position, Init::Constant(0.0));
        let made = self.b.constant(&name, Constant { param, map });
        let made = made.map_err(|error| error.to_string())?;
        self.weights.push((self.b.name(&name), array.reshaped(shape)?));
        let mut back = vec![0; order.len()];
        order.iter().enumerate().for_each(|(at, dim)| back[*dim] = at);
        Ok(StridedView::row_major(made, array.dims()).transposed(&back))
    }

    /// x + c or x · c of a constant that is spread to the shape of the view; `named` is what the file calls it,
    /// where its values are the file's.
    pub(super) fn broadcast(
        &mut self,
        node: &OperatorNode,
        view: &StridedView,
        by: BroadcastBy,
        constant: &Array,
        named: Option<&str>,
    ) -> Folded<StridedView> {
        let mut view = self.whole(view.clone())?;
        let axes_in = |view: &StridedView, map| axes_of(&spread_atoms(view, constant.dims()), map);
        let axes = match axes_in(&view, self.b.map(view.node)) {
            Some(axes) => axes,
            None => {
                view = self.in_order(&view)?;
                axes_in(&view, self.b.map(view.node)).ok_or("isn't of rows and columns")?
            }
        };
        let (mut sizes, mut strides, mut table, mut each) = (vec![], vec![], [1; 3], [1; 3]);
        for (axis, atoms) in axes.iter().enumerate() {
            let kept = kept(atoms);
            each[axis] = atoms[kept.end..].iter().map(|atom| atom.size).product();
            for atom in &atoms[kept] {
                table[axis] *= atom.size;
                sizes.push(atom.size);
                strides.push(atom.of_constant as isize);
            }
        }
        // Where all is one, the axis isn't divided.
        (0..3).filter(|axis| table[*axis] == 1).for_each(|axis| each[axis] = 1);
        let values = constant.picked(table.to_vec(), places(&sizes, &strides, 0))?;
        let is_moved = values.elements() != constant.elements();
        let shape = if is_moved { table.to_vec() } else { constant.dims().to_vec() };
        let step = self.names.step(node);
        let name = match named.filter(|_| !is_moved) {
            Some(named) => self.names.free(named),
            None => format!("{step}.value"),
        };
        let [height, width, channels] = table;
        let op =
            Broadcast { by, table: Map::new(height, width, channels), each, shape: shape.clone() };
        let (step, name) = (self.b.name(&step), self.b.name(&name));
        let y = self.b.tape.record_shared(&step, Arc::new(op), &[view.node], Some(&[&name]));
        let y = y.map_err(|error| error.to_string())?;
        self.weights.push((name, values.reshaped(shape)?));
        Ok(StridedView { node: y, ..view })
    }

    /// The dimension of the view that is its node's channels.
    pub(super) fn channel_axis(&self, view: &StridedView) -> Option<usize> {
        let channels = self.b.map(view.node).channels;
        (0..view.dims.len()).find(|axis| is_run(&view.dims[*axis], channels))
    }
}

/// The atoms of a view with where a constant of `dims`, spread to the view's shape, is read.
fn spread_atoms(view: &StridedView, dims: &[usize]) -> Vec<SpreadAtom> {
    let strides = strides_of(dims);
    let missing = view.dims.len() - dims.len();
    let mut atoms = Vec::new();
    for (at, dim) in view.dims.iter().enumerate() {
        let own = at.checked_sub(missing).filter(|own| dims[*own] > 1);
        let stride = own.map_or(0, |own| strides[own]);
        let mut inner: usize = dim.iter().map(|atom| atom.size).product();
        for Atom { size, stride: in_memory } in dim {
            inner /= size;
            let in_memory = in_memory.unsigned_abs();
            atoms.push(SpreadAtom { size: *size, stride: in_memory, of_constant: inner * stride });
        }
    }
    atoms.sort_by_key(|atom| std::cmp::Reverse(atom.stride));
    atoms
}

/// Those of rows, columns and channels of `map`, the outermost first. An atom that reaches over several axes is
/// parted; `None` where one doesn't fall into whole rows or pixels.
fn axes_of(atoms: &[SpreadAtom], map: Map) -> Option<[Vec<SpreadAtom>; 3]> {
    let starts = [map.width * map.channels, map.channels, 1];
    let mut axes = [vec![], vec![], vec![]];
    for atom in atoms {
        let mut left = *atom;
        for (axis, start) in starts.into_iter().enumerate() {
            let end = left.stride * left.size;
            if end <= start {
                continue;
            }
            if left.stride >= start {
                axes[axis].push(left);
                break;
            }
            // Its part beyond the border.
            let inner = start / left.stride;
            if !start.is_multiple_of(left.stride) || !left.size.is_multiple_of(inner) {
                return None;
            }
            let of_constant = left.of_constant * inner;
            axes[axis].push(SpreadAtom { size: left.size / inner, stride: start, of_constant });
            left.size = inner;
        }
    }
    Some(axes)
}

/// The atoms between the outermost and the innermost that the constant doesn't share.
fn kept(atoms: &[SpreadAtom]) -> std::ops::Range<usize> {
    let own = |atom: &SpreadAtom| atom.of_constant > 0;
    match (atoms.iter().position(own), atoms.iter().rposition(own)) {
        (Some(first), Some(last)) => first..last + 1,
        _ => atoms.len()..atoms.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atoms_are_parted_at_rows_and_pixels_or_not_at_all() {
        let map = Map::new(4, 6, 8);
        let atom = |size, stride, of_constant| SpreadAtom { size, stride, of_constant };
        // Twelve times sixteen: half a row's thirds, each of two pixels.
        let axes = axes_of(&[atom(12, 16, 16), atom(16, 1, 1)], map).unwrap();
        assert_eq!(axes[0], [atom(4, 48, 48)]);
        assert_eq!(axes[1], [atom(3, 16, 16), atom(2, 8, 8)]);
        assert_eq!(axes[2], [atom(8, 1, 1)]);
        // Eight times fifteen of pixels of six channels: fifteen aren't whole pixels.
        assert_eq!(axes_of(&[atom(8, 15, 15), atom(15, 1, 1)], Map::new(4, 5, 6)), None);
    }
}
