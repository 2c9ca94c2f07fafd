//! Windows that slide over maps: their padding, and pools.

use super::view::StridedView;
use super::{NOT_YET, Recorder};
use crate::onnx::array::{Array, Folded};
use crate::onnx::graph::OperatorNode;
use crate::onnx::op::Sliding;
use crate::ops::avg_pool::AvgPool;
use crate::ops::broadcast::BroadcastBy;
use crate::ops::max_pool::MaxPool;
use crate::ops::window::Window;

impl Recorder<'_, '_, '_> {
    /// The map and the padding for a window that is padded alike on both sides; otherwise the map has a border
    /// of `value` instead.
    pub(super) fn evenly(
        &mut self,
        node: &OperatorNode,
        view: StridedView,
        window: &Sliding,
        value: f32,
    ) -> Folded<(StridedView, [usize; 2])> {
        let sizes = view.sizes();
        let mut after = window.after;
        for axis in 0..2 {
            let outputs = window.outputs(axis, sizes[2 + axis])?;
            let extent = (window.kernel[axis] - 1) * window.dilation[axis] + 1;
            let end = (outputs - 1) * window.stride[axis] + extent;
            let padded = sizes[2 + axis] + window.before[axis];
            // As far as the last window goes, beyond what is said (ceil_mode).
            if end > padded + after[axis] {
                after[axis] = end - padded;
            }
        }
        if window.before == after {
            return Ok((view, window.before));
        }
        Ok((self.bordered(node, view, [window.before, after], value)?, [0; 2]))
    }

    pub(super) fn max_pool(
        &mut self,
        node: &OperatorNode,
        window: &Sliding,
    ) -> Folded<StridedView> {
        let view = self.view(node, 0)?;
        let (view, padding) = self.evenly(node, view, window, f32::NEG_INFINITY)?;
        let x = self.as_map(&view)?;
        let name = self.names.step(node);
        let Sliding { kernel, stride, dilation, .. } = *window;
        let y = self.recorded(
            &name,
            MaxPool { window: Window { kernel, stride, padding, dilation } },
            &[x],
        )?;
        Ok(StridedView::of_map(y, self.b.map(y)))
    }

    pub(super) fn avg_pool(
        &mut self,
        node: &OperatorNode,
        window: &Sliding,
        count_include_pad: bool,
    ) -> Folded<StridedView> {
        if window.dilation != [1; 2] {
            return Err(format!("is dilated, which {NOT_YET}"));
        }
        let view = self.view(node, 0)?;
        let sizes = view.sizes();
        let counts = WindowCounts::of(window, count_include_pad, [sizes[2], sizes[3]])?;
        // Where windows have fewer elements than the kernel, and not only for padding that is alike on both sides.
        let is_uneven = window.before != window.after && !count_include_pad;
        let uneven = counts.factors().filter(|_| is_uneven || counts.ends_behind);
        let (view, padding) = self.evenly(node, view, window, 0.0)?;
        let view = match uneven {
            Some(_) => self.bordered(node, view, [padding, padding], 0.0)?,
            None => view,
        };
        let padding = if uneven.is_some() { [0; 2] } else { padding };
        let x = self.as_map(&view)?;
        let name = self.names.step(node);
        let Sliding { kernel, stride, .. } = *window;
        let count_include_pad = count_include_pad || uneven.is_some();
        let pool = AvgPool { kernel, stride, padding, count_include_pad };
        let y = self.recorded(&name, pool, &[x])?;
        let y = StridedView::of_map(y, self.b.map(y));
        match uneven {
            Some(factors) => self.broadcast(node, &y, BroadcastBy::Multiply, &factors, None),
            None => Ok(y),
        }
    }
}

/// How many elements each window of an average counts, along rows and columns.
struct WindowCounts {
    along: [Vec<usize>; 2],
    kernel: [usize; 2],
    /// Whether a window ends behind the map and its padding.
    ends_behind: bool,
}

impl WindowCounts {
    fn of(window: &Sliding, with_padding: bool, size: [usize; 2]) -> Folded<WindowCounts> {
        let mut counts =
            WindowCounts { along: [vec![], vec![]], kernel: window.kernel, ends_behind: false };
        for (axis, size) in size.into_iter().enumerate() {
            let (before, after) = (window.before[axis], window.after[axis]);
            let end = before + size;
            // What lies behind the padding isn't counted, whatever is said of that.
            let (first, last) = if with_padding { (0, end + after) } else { (before, end) };
            for output in 0..window.outputs(axis, size)? {
                let start = output * window.stride[axis];
                let stop = start + window.kernel[axis];
                counts.ends_behind |= stop > end + after;
                counts.along[axis].push(stop.min(last).saturating_sub(start.max(first)));
            }
        }
        Ok(counts)
    }

    /// What an average over whole kernels is multiplied by, 1 × 1 × rows × columns; `None` where that is 1.
    fn factors(&self) -> Option<Array> {
        let [rows, columns] = &self.along;
        let all = self.kernel[0] * self.kernel[1];
        let factor = |count: usize| all as f32 / count.max(1) as f32;
        let factors: Vec<f32> = rows
            .iter()
            .flat_map(|row| columns.iter().map(move |column| factor(row * column)))
            .collect();
        let dims = vec![1, 1, rows.len(), columns.len()];
        let is_one = factors.iter().all(|factor| *factor == 1.0);
        Array::floats(dims, factors).ok().filter(|_| !is_one)
    }
}
