//! The sliding window of pooling: which inputs an output reads, and which outputs read an input.

use crate::tensor::{Map, Region, Span};
use crate::{Error, Result};

/// A window's numbers. Pairs are (rows, columns). Output o reads the inputs
/// o·stride − padding + tap·dilation that lie within the map, for tap in 0..kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    pub dilation: [usize; 2],
}

impl Window {
    /// A square window, not dilated.
    pub const fn square(kernel: usize, stride: usize, padding: usize) -> Self {
        Window { kernel: [kernel; 2], stride: [stride; 2], padding: [padding; 2], dilation: [1; 2] }
    }

    /// Positions of the window.
    pub const fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Input positions from the first tap to the last, both included.
    const fn extent(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1) * self.dilation[axis] + 1
    }

    /// Outputs along an axis; `None` where the window doesn't fit.
    pub fn output_size(&self, axis: usize, input: usize) -> Option<usize> {
        let room = (input + 2 * self.padding[axis]).checked_sub(self.extent(axis))?;
        Some(room / self.stride[axis] + 1)
    }

    /// The output map: ⌊(size + 2·padding − extent) / stride⌋ + 1 along each axis.
    ///
    /// # Errors
    /// [`Error::Shape`] of `op` for zero sizes, for more padding than half a window (an output
    /// would read nothing) and for a window that doesn't fit.
    pub fn output_map(&self, op: &str, input: Map) -> Result<Map> {
        let sizes = [self.kernel, self.stride, self.dilation].concat();
        if sizes.contains(&0) || (0..2).any(|axis| 2 * self.padding[axis] > self.extent(axis)) {
            return Err(Error::shape(op, format!("is impossible: {self:?}")));
        }
        match (self.output_size(0, input.height), self.output_size(1, input.width)) {
            (Some(height), Some(width)) => Ok(Map::new(height, width, input.channels)),
            _ => Err(Error::shape(
                op,
                format!("a window of {:?} doesn't fit an input of {input}", self.kernel),
            )),
        }
    }

    /// The outputs that can change with `region`; channels don't mix.
    pub fn reach(&self, region: Region, output: Map) -> Region {
        Region {
            rows: self.readers(0, region.rows, output.height),
            columns: self.readers(1, region.columns, output.width),
            ..region
        }
    }

    /// The outputs, of `outputs` along an axis, that may read any of `inputs`.
    pub fn readers(&self, axis: usize, inputs: Span, outputs: usize) -> Span {
        inputs.through_window(
            self.kernel[axis],
            self.stride[axis],
            self.padding[axis],
            self.dilation[axis],
            outputs,
        )
    }

    /// The taps of an output that aren't in the padding: neighbours, since taps ascend.
    #[inline(always)]
    pub fn taps_within(&self, axis: usize, output: usize, size: usize) -> std::ops::Range<usize> {
        let (dilation, start) = (self.dilation[axis], output * self.stride[axis]);
        let before = self.padding[axis].saturating_sub(start).div_ceil(dilation);
        let end = (size + self.padding[axis]).saturating_sub(start).div_ceil(dilation);
        let end = end.min(self.kernel[axis]);
        before.min(end)..end
    }

    /// The input under a tap: `None` in the padding.
    #[inline(always)]
    pub fn input(&self, axis: usize, output: usize, tap: usize, size: usize) -> Option<usize> {
        (output * self.stride[axis] + tap * self.dilation[axis])
            .checked_sub(self.padding[axis])
            .filter(|at| *at < size)
    }

    /// The tap of `output` that lies on `input`, if there is one.
    #[inline(always)]
    pub fn tap(&self, axis: usize, output: usize, input: usize) -> Option<usize> {
        let distance = (input + self.padding[axis]).checked_sub(output * self.stride[axis])?;
        let tap = distance / self.dilation[axis];
        (tap < self.kernel[axis] && distance.is_multiple_of(self.dilation[axis])).then_some(tap)
    }
}

#[cfg(test)]
mod tests {
    /// The taps within are those that have an input.
    #[test]
    fn taps_within_are_those_with_an_input() {
        for (kernel, stride, padding, dilation) in
            [(3, 2, 1, 1), (2, 2, 0, 1), (3, 1, 1, 1), (3, 1, 2, 2), (5, 3, 6, 3), (1, 1, 0, 1)]
        {
            let (pair, size) = ([kernel; 2], 11);
            let window = Window {
                kernel: pair,
                stride: [stride; 2],
                padding: [padding; 2],
                dilation: [dilation; 2],
            };
            let outputs = window.output_map("pool", Map::new(size, size, 1)).unwrap().height;
            for output in 0..outputs {
                let with_input: Vec<usize> = (0..kernel)
                    .filter(|tap| window.input(0, output, *tap, size).is_some())
                    .collect();
                let within: Vec<usize> = window.taps_within(0, output, size).collect();
                assert_eq!(within, with_input, "{window:?} {output}");
            }
        }
    }

    use super::*;

    #[test]
    fn taps_and_inputs_are_inverse() {
        let window = Window { kernel: [3, 2], stride: [2, 1], padding: [1, 0], dilation: [2, 3] };
        let map = window.output_map("window", Map::new(9, 8, 1)).unwrap();
        assert_eq!((map.height, map.width), (4, 5));
        for (axis, size, outputs) in [(0, 9, map.height), (1, 8, map.width)] {
            for output in 0..outputs {
                for input in 0..size {
                    let tap = (0..window.kernel[axis])
                        .find(|tap| window.input(axis, output, *tap, size) == Some(input));
                    assert_eq!(window.tap(axis, output, input), tap);
                    if tap.is_some() {
                        assert!(window.readers(axis, Span::one(input), outputs).contains(output));
                    }
                }
            }
        }
    }

    #[test]
    fn impossible_windows_are_refused() {
        let output = |window: Window| window.output_map("window", Map::new(4, 4, 1));
        assert!(output(Window::square(2, 0, 0)).is_err());
        assert!(output(Window::square(0, 1, 0)).is_err());
        assert!(output(Window::square(3, 1, 2)).is_err());
        assert!(output(Window::square(5, 1, 0)).is_err());
        assert!(output(Window::square(4, 7, 0)).is_ok());
    }
}
