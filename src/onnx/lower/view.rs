//! Where the elements of a tensor lie in the memory of the node that holds them.
//!
//! A tensor of the file has any number of dimensions; a value of the tape is a map of rows × columns ×
//! channels. Shapes and orders of dimensions are kept as arithmetic of places, so that reshaping and
//! transposing move nothing.

use crate::onnx::op::AxisCut;
use crate::tape::NodeId;
use crate::tensor::Map;

/// Neighbours along a part of a dimension: how many there are, and how far apart in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Atom {
    pub size: usize,
    pub stride: isize,
}

/// A tensor as places in a node's memory, for one image.
#[derive(Clone, Debug, PartialEq)]
pub struct StridedView {
    pub node: NodeId,
    /// The place of the first element.
    pub start: usize,
    /// Each dimension's atoms, the outermost first; none for a dimension of 1.
    pub dims: Vec<Vec<Atom>>,
}

impl StridedView {
    /// 1 × channels × rows × columns, over a node of that map.
    pub fn of_map(node: NodeId, map: Map) -> StridedView {
        let Map { height, width, channels } = map;
        let dim = |size, stride: usize| simplified(vec![Atom { size, stride: stride as isize }]);
        let dims =
            vec![vec![], dim(channels, 1), dim(height, width * channels), dim(width, channels)];
        StridedView { node, start: 0, dims }
    }

    /// A tensor of `sizes` that lies row-major in a node's memory.
    pub fn row_major(node: NodeId, sizes: &[usize]) -> StridedView {
        let strides = crate::onnx::array::strides_of(sizes);
        let atom = |(size, stride): (&usize, usize)| {
            simplified(vec![Atom { size: *size, stride: stride as isize }])
        };
        StridedView { node, start: 0, dims: sizes.iter().zip(strides).map(atom).collect() }
    }

    /// The size of each dimension.
    pub fn sizes(&self) -> Vec<usize> {
        self.dims.iter().map(|dim| size_of(dim)).collect()
    }

    /// All atoms, in the tensor's order.
    pub fn atoms(&self) -> Vec<Atom> {
        self.dims.iter().flatten().copied().collect()
    }

    /// With its dimensions in another order.
    pub fn transposed(&self, order: &[usize]) -> StridedView {
        StridedView {
            dims: order.iter().map(|dim| self.dims[*dim].clone()).collect(),
            ..self.clone()
        }
    }

    /// Under another shape of as many elements; `None` where a part of it isn't evenly spaced.
    pub fn reshaped(&self, sizes: &[usize]) -> Option<StridedView> {
        let mut rest = simplified(self.atoms());
        rest.reverse();
        let mut dims = Vec::with_capacity(sizes.len());
        for size in sizes {
            let mut left = *size;
            let mut dim = Vec::new();
            while left > 1 {
                let atom = rest.pop()?;
                if left.is_multiple_of(atom.size) {
                    left /= atom.size;
                    dim.push(atom);
                } else if atom.size.is_multiple_of(left) {
                    let inner = atom.size / left;
                    dim.push(Atom { size: left, stride: atom.stride * inner as isize });
                    rest.push(Atom { size: inner, ..atom });
                    left = 1;
                } else {
                    return None;
                }
            }
            dims.push(simplified(dim));
        }
        rest.is_empty().then_some(StridedView { dims, ..self.clone() })
    }

    /// A part of it; `None` where a dimension that is cut isn't evenly spaced.
    pub fn cut(&self, cuts: &[AxisCut]) -> Option<StridedView> {
        let mut view = self.clone();
        for (dim, cut) in view.dims.iter_mut().zip(cuts) {
            if cut.start == 0 && cut.step == 1 && cut.size == size_of(dim) {
                continue;
            }
            let stride = match dim[..] {
                [] => 0,
                [atom] => atom.stride,
                _ => return None,
            };
            view.start = view.start.checked_add_signed(cut.start as isize * stride)?;
            *dim = simplified(vec![Atom { size: cut.size, stride: stride * cut.step }]);
        }
        Some(view)
    }

    /// Spread to `sizes`: dimensions of 1 are repeated, missing ones stand in front.
    pub fn spread(&self, sizes: &[usize]) -> StridedView {
        let missing = sizes.len() - self.dims.len();
        let dims = sizes.iter().enumerate().map(|(at, size)| {
            let own = at.checked_sub(missing).map_or(&[][..], |at| &self.dims[at]);
            match size_of(own) == *size {
                true => own.to_vec(),
                false => vec![Atom { size: *size, stride: 0 }],
            }
        });
        StridedView { dims: dims.collect(), ..self.clone() }
    }

    /// Whether each element of a node of `map` is there exactly once.
    pub fn is_whole(&self, map: Map) -> bool {
        let mut atoms = self.atoms();
        atoms.sort_by_key(|atom| atom.stride);
        let mut next = 1;
        for atom in atoms {
            if atom.stride != next {
                return false;
            }
            next *= atom.size as isize;
        }
        self.start == 0 && next == map.elements() as isize
    }
}

/// The size of a dimension.
pub fn size_of(dim: &[Atom]) -> usize {
    dim.iter().map(|atom| atom.size).product()
}

/// Without atoms of 1, neighbours that are evenly spaced in one.
pub fn simplified(atoms: Vec<Atom>) -> Vec<Atom> {
    let mut kept: Vec<Atom> = Vec::with_capacity(atoms.len());
    for atom in atoms.into_iter().filter(|atom| atom.size != 1) {
        match kept.last_mut() {
            Some(last) if last.stride == atom.stride * atom.size as isize => {
                *last = Atom { size: last.size * atom.size, stride: atom.stride };
            }
            _ => kept.push(atom),
        }
    }
    kept
}

/// Whether atoms are all elements of a run of `size` neighbours, in order.
pub fn is_run(atoms: &[Atom], size: usize) -> bool {
    let atoms = simplified(atoms.to_vec());
    match atoms[..] {
        [] => size == 1,
        [atom] => atom == Atom { size, stride: 1 },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: Map = Map { height: 4, width: 6, channels: 8 };

    /// The places of a view's elements, in order.
    fn places(view: &StridedView) -> Vec<usize> {
        let atoms = view.atoms();
        let (sizes, strides): (Vec<usize>, Vec<isize>) =
            atoms.iter().map(|atom| (atom.size, atom.stride)).unzip();
        crate::tensor::places(&sizes, &strides, view.start).collect()
    }

    #[test]
    fn reshaping_keeps_the_order_of_elements() {
        let view = StridedView::of_map(NodeId(0), MAP);
        for sizes in [vec![1, 8, 24], vec![2, 4, 2, 2, 6], vec![192], vec![8, 2, 12]] {
            let reshaped = view.reshaped(&sizes).unwrap();
            assert_eq!(reshaped.sizes(), sizes);
            assert_eq!(places(&reshaped), places(&view), "{sizes:?}");
        }
        // Sixteen neighbours of three rows and a part of a fourth.
        let windows = view.transposed(&[0, 2, 3, 1]).reshaped(&[2, 2, 3, 2, 8]).unwrap();
        assert_eq!(windows.sizes(), [2, 2, 3, 2, 8]);
        assert!(view.reshaped(&[5, 3]).is_none());
    }

    #[test]
    fn transposing_and_cutting_find_the_elements() {
        let view = StridedView::of_map(NodeId(0), MAP);
        let last = view.transposed(&[0, 2, 3, 1]);
        assert_eq!(places(&last), (0..192).collect::<Vec<_>>());
        assert!(last.is_whole(MAP) && view.is_whole(MAP));
        let cut = |start, step, size| AxisCut { start, step, size };
        let cuts = [cut(0, 1, 1), cut(1, 2, 2), cut(1, 3, 2), cut(7, -7, 2)];
        let part = last.cut(&cuts).unwrap();
        let mut wanted = Vec::new();
        for row in [1, 3] {
            for column in [1, 4] {
                wanted.extend([7, 0].map(|channel| MAP.index(row, column, channel)));
            }
        }
        assert_eq!(places(&part), wanted);
        assert!(!part.is_whole(MAP));
        assert_eq!(part.spread(&[3, 1, 2, 2, 2]).sizes(), [3, 1, 2, 2, 2]);
    }
}
