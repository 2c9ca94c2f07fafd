//! Max pooling: y\[p, c\] = max over the window of x\[·, c\]; padding counts as −∞.
//!
//! As PyTorch's `MaxPool2d`: a NaN in the window wins, and of equal values the first in row-major
//! order takes the gradient. (Of several NaNs the last does.)
//!
//! Backward reads one byte an output, the tap that won, which forward saves: a quarter of the
//! output's bytes instead of the whole input, and a single comparison where recomputing the
//! arg-max would read the window again for each input pixel under it. So a window has at most 256
//! taps. Each input pixel gathers from the windows over it in row-major order; nothing is added
//! atomically.

mod cpu;
mod cuda;

use super::window::Window;
use super::{Op, PassBytes, passes};
use crate::tensor::{Region, Spec};
use crate::{Error, Result};

/// Max pooling over a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool {
    pub window: Window,
}

impl MaxPool {
    /// A square window, not dilated.
    pub const fn square(kernel: usize, stride: usize, padding: usize) -> Self {
        MaxPool { window: Window::square(kernel, stride, padding) }
    }
}

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for MaxPool {
    passes!("max_pool", op => op);

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        if self.window.taps() > 256 {
            let kernel = self.window.kernel;
            let detail = format!("a window of {kernel:?} has more than 256 positions");
            return Err(Error::shape("max_pool", detail));
        }
        self.window.output_map("max_pool", inputs[0].map).map(Spec::f32)
    }

    /// The tap that won, a byte an output.
    fn bytes(&self, inputs: &[Spec], batch: usize, _training: bool) -> PassBytes {
        let outputs = self.output(inputs).map_or(0, |spec| spec.map.elements());
        PassBytes { saved: (batch * outputs).next_multiple_of(4), workspace: 0 }
    }

    fn reach(&self, _input: usize, region: Region, _inputs: &[Spec], output: &Spec) -> Region {
        self.window.reach(region, output.map)
    }
}
