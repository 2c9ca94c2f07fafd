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

use super::case::{CaseInput, Fill, OpCase};
use super::window::Window;
use super::{HostBackward, HostForward, KernelBackward, KernelForward, Needs, Op};
use crate::tensor::{Map, Region, Spec};
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

impl Op for MaxPool {
    fn kind(&self) -> &'static str {
        "max_pool"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        if self.window.taps() > 256 {
            let kernel = self.window.kernel;
            let detail = format!("a window of {kernel:?} has more than 256 positions");
            return Err(Error::shape("max_pool", detail));
        }
        self.window.output_map("max_pool", inputs[0].map).map(Spec::f32)
    }

    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// The tap that won, a byte an output.
    fn saved_bytes(&self, inputs: &[Spec], batch: usize) -> usize {
        let outputs = self.output(inputs).map_or(0, |spec| spec.map.elements());
        (batch * outputs).next_multiple_of(4)
    }

    fn reach(&self, _input: usize, region: Region, _inputs: &[Spec], output: &Spec) -> Region {
        self.window.reach(region, output.map)
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!({
            "kernel_size": self.window.kernel,
            "stride": self.window.stride,
            "padding": self.window.padding,
            "dilation": self.window.dilation,
        })
    }

    fn forward(&self, ctx: &mut HostForward<'_>) -> Result<()> {
        cpu::forward(self, ctx)
    }

    fn backward(&self, ctx: &mut HostBackward<'_>) -> Result<()> {
        cpu::backward(self, ctx)
    }

    fn launch_forward(&self, ctx: &KernelForward<'_>) -> Result<()> {
        cuda::forward(self, ctx)
    }

    fn launch_backward(&self, ctx: &KernelBackward<'_>) -> Result<()> {
        cuda::backward(self, ctx)
    }
}

/// Cases for tests.
pub fn cases() -> Vec<OpCase> {
    let odd = Window { kernel: [2, 3], stride: [1, 2], padding: [1, 0], dilation: [2, 2] };
    [
        ("3x3 stride 2", MaxPool::square(3, 2, 1), Map::new(9, 8, 21), 3),
        ("2x2", MaxPool::square(2, 2, 0), Map::new(7, 6, 16), 2),
        ("5x5, overlapping", MaxPool::square(5, 1, 2), Map::new(6, 7, 3), 2),
        ("dilated", MaxPool { window: odd }, Map::new(6, 9, 33), 2),
    ]
    .into_iter()
    .flat_map(|(name, op, map, batch)| {
        let input = || vec![CaseInput { map, fill: Fill::Distinct }];
        let eval = OpCase::new(&format!("{name}, eval"), op, input(), batch).eval();
        [OpCase::new(name, op, input(), batch), eval]
    })
    .collect()
}
