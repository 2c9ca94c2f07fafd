//! Products of two values: attention, where it is written out.

use super::view::{StridedView, is_run};
use super::{Operand, Recorder};
use crate::onnx::array::{Folded, spread_of};
use crate::onnx::graph::OperatorNode;
use crate::ops::matmul::MatMul;
use crate::tensor::Map;

impl Recorder<'_, '_, '_> {
    /// A product of matrices that both depend on the image; all dimensions but the last two are spread to each
    /// other.
    pub(super) fn product(&mut self, node: &OperatorNode) -> Folded<StridedView> {
        if node.inputs.iter().any(|input| !matches!(input, Operand::Value(_))) {
            return Err("multiplies a constant of several matrices by a value".into());
        }
        let (a, b) = (self.view(node, 0)?, self.view(node, 1)?);
        let name = self.names.step(node);
        let y = self.product_of(&name, &a, &b)?;
        y.reshaped(&self.graph.shapes[node.output.0]).ok_or_else(|| "can't be of its shape".into())
    }

    /// A product of views; its rows and columns stand last, also where a factor is a vector.
    pub(super) fn product_of(
        &mut self,
        name: &str,
        a: &StridedView,
        b: &StridedView,
    ) -> Folded<StridedView> {
        let (mut a, mut b) = (a.clone(), b.clone());
        if a.dims.len() == 1 {
            a.dims.insert(0, vec![]);
        }
        if b.dims.len() == 1 {
            b.dims.push(vec![]);
        }
        let (a_sizes, b_sizes) = (a.sizes(), b.sizes());
        let ([a_outer @ .., m, k], [b_outer @ .., _, n]) = (&a_sizes[..], &b_sizes[..]) else {
            return Err("isn't a product of matrices".into());
        };
        let outer = spread_of(a_outer, b_outer)?;
        let batch = outer.iter().product();
        let matrix = |rows: usize, columns: usize| [&outer[..], &[rows, columns]].concat();
        let a = self.packed(&a.spread(&matrix(*m, *k)), Map::new(batch, *m, *k))?;
        // As it lies: column by column where a column's terms are neighbours.
        let by_rows = b.dims.last().is_some_and(|dim| is_run(dim, *n)) || *k == 1;
        let b = b.spread(&matrix(*k, *n));
        let (b, op) = match by_rows {
            true => (self.packed(&b, Map::new(batch, *k, *n))?, MatMul::new()),
            false => {
                let mut order: Vec<usize> = (0..b.dims.len()).collect();
                order.swap(outer.len(), outer.len() + 1);
                let b = b.transposed(&order);
                (self.packed(&b, Map::new(batch, *n, *k))?, MatMul::transposed())
            }
        };
        let y = self.recorded(name, op, &[a, b])?;
        Ok(StridedView::row_major(y, &matrix(*m, *n)))
    }
}
