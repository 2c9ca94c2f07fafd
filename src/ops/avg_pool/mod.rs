//! Average pooling: y\[p, c\] = (Σ over the window of x\[·, c\]) / count, as PyTorch's `AvgPool2d`
//! without `ceil_mode`: count is all of the window, or only what lies in the map.

mod cpu;
mod cuda;

use super::window::Window;
use super::{Op, passes};
use crate::Result;
use crate::tensor::{Region, Spec};

/// Average pooling. Pairs are (rows, columns).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvgPool {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    /// Whether padding counts as zeros (PyTorch's default) or not at all.
    pub count_include_pad: bool,
}

impl AvgPool {
    /// A square window; padding counts.
    pub const fn square(kernel: usize, stride: usize, padding: usize) -> Self {
        AvgPool {
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [padding; 2],
            count_include_pad: true,
        }
    }

    const fn window(&self) -> Window {
        Window { kernel: self.kernel, stride: self.stride, padding: self.padding, dilation: [1; 2] }
    }
}

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for AvgPool {
    passes!("avg_pool", op => op);

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        self.window().output_map("avg_pool", inputs[0].map).map(Spec::f32)
    }

    fn reach(&self, _input: usize, region: Region, _inputs: &[Spec], output: &Spec) -> Region {
        self.window().reach(region, output.map)
    }
}
