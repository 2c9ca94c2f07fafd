//! Means, sums, maxima and lengths along dimensions.

use super::Recorder;
use super::layers::with_new_channels;
use super::view::{StridedView, simplified, size_of};
use crate::onnx::array::Folded;
use crate::onnx::graph::OperatorNode;
use crate::onnx::op::Reduction;
use crate::ops::adaptive_avg_pool::AdaptiveAvgPool;
use crate::ops::max_pool::MaxPool;
use crate::ops::reduce::Reduce;
use crate::ops::window::Window;

impl Recorder<'_, '_, '_> {
    /// What elements along `axes` become; its dimensions are the others, and one of 1.
    pub(super) fn reduce(
        &mut self,
        node: &OperatorNode,
        reduction: Reduction,
        axes: &[usize],
    ) -> Folded<StridedView> {
        let view = self.view(node, 0)?;
        let op = match reduction {
            Reduction::Mean => Reduce::Mean,
            Reduction::Sum => Reduce::Sum,
            Reduction::Max => Reduce::Max,
            Reduction::L2 => Reduce::L2,
            Reduction::Min => return self.minimum(node, &view, axes),
            Reduction::Product => return Err("is a product along a dimension".into()),
        };
        self.reduced(node, &view, op, axes)
    }

    /// −max(−x).
    fn minimum(
        &mut self,
        node: &OperatorNode,
        view: &StridedView,
        axes: &[usize],
    ) -> Folded<StridedView> {
        let name = self.names.step(node);
        let first = self.names.free(&format!("{name}.negative"));
        let negative = self.line_of(&first, view, -1.0, 0.0)?;
        let largest = self.reduced(node, &negative, Reduce::Max, axes)?;
        let last = self.names.free(&format!("{name}.negative"));
        self.line_of(&last, &largest, -1.0, 0.0)
    }

    fn reduced(
        &mut self,
        node: &OperatorNode,
        view: &StridedView,
        op: Reduce,
        axes: &[usize],
    ) -> Folded<StridedView> {
        let (inside, kept): (Vec<usize>, Vec<usize>) =
            (0..view.dims.len()).partition(|axis| axes.contains(axis));
        let long: Vec<usize> =
            kept.iter().copied().filter(|axis| size_of(&view.dims[*axis]) > 1).collect();
        // All pixels of each channel.
        if let ([channels], Reduce::Mean | Reduce::Max) = (&long[..], op)
            && self.channel_axis(view) == Some(*channels)
        {
            return self.pooled(node, view, op, *channels);
        }
        let mut dims: Vec<_> = kept.iter().map(|axis| view.dims[*axis].clone()).collect();
        dims.push(simplified(inside.iter().flat_map(|axis| view.dims[*axis].clone()).collect()));
        let merged = StridedView { dims, ..view.clone() };
        let (x, from) = self.with_channels(&merged, kept.len())?;
        let name = self.names.step(node);
        let y = self.recorded(&name, op, &[x])?;
        Ok(with_new_channels(&from, y, kept.len(), 1))
    }

    fn pooled(
        &mut self,
        node: &OperatorNode,
        view: &StridedView,
        op: Reduce,
        channels: usize,
    ) -> Folded<StridedView> {
        let (x, _) = self.with_channels(view, channels)?;
        let map = self.b.map(x);
        let name = self.names.step(node);
        let y = match op {
            _ if map.pixels() == 1 => x,
            Reduce::Max => {
                let kernel = [map.height, map.width];
                let window = Window { kernel, stride: [1; 2], padding: [0; 2], dilation: [1; 2] };
                self.recorded(&name, MaxPool { window }, &[x])?
            }
            _ => self.recorded(&name, AdaptiveAvgPool::GLOBAL, &[x])?,
        };
        Ok(StridedView::row_major(y, &[map.channels]))
    }
}
