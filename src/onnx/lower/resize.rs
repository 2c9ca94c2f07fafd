//! Maps at other sizes.

use super::Recorder;
use super::view::{StridedView, size_of};
use crate::onnx::array::{Array, Folded};
use crate::onnx::graph::OperatorNode;
use crate::onnx::op::Sampling;
use crate::onnx::resample::SampleTaps;
use crate::ops::broadcast::BroadcastBy;

impl Recorder<'_, '_, '_> {
    /// The last two dimensions at other sizes: of rows, then of columns, weighted sums of those that they lie
    /// between.
    pub(super) fn resize(
        &mut self,
        node: &OperatorNode,
        sampling: Sampling,
        coordinates: [&[f32]; 2],
    ) -> Folded<StridedView> {
        let mut view = self.view(node, 0)?;
        let rank = view.dims.len();
        for (axis, coordinates) in [rank - 2, rank - 1].into_iter().zip(coordinates) {
            let size = size_of(&view.dims[axis]);
            if coordinates.iter().copied().eq((0..size).map(|at| at as f32)) {
                continue;
            }
            let taps = SampleTaps::new(sampling, coordinates, size);
            let mut sum = None;
            for (indices, weights) in taps.indices.iter().zip(taps.weights) {
                let mut part = self.take(node, view.clone(), axis, indices)?;
                if weights.iter().any(|weight| *weight != 1.0) {
                    let mut dims = vec![1; rank];
                    dims[axis] = weights.len();
                    let weights = Array::floats(dims, weights)?;
                    part = self.broadcast(node, &part, BroadcastBy::Multiply, &weights, None)?;
                }
                sum = Some(match sum {
                    None => part,
                    Some(sum) => self.added(node, sum, part)?,
                });
            }
            view = sum.ok_or("has no samples")?;
        }
        Ok(view)
    }
}
