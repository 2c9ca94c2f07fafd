//! What an operation's passes are given: views of memory, and what to do with it.

use super::{DeviceStep, RunState, Step};
use crate::device::{Device, KernelArgs};
use crate::fault::FaultTable;
use crate::tensor::{Map, Region, Tensor};
use crate::{Error, Result};

/// Faults of one layer, for the host and for kernels.
#[derive(Clone, Copy, Debug)]
pub struct ArmedFaults<'a> {
    pub table: &'a FaultTable,
    /// Where the table's bytes lie in device memory; 0 on the CPU.
    pub address: u64,
}

/// A gradient to write: assign, or add to what is there.
#[derive(Clone, Copy, Debug)]
pub struct Gradient {
    pub tensor: Tensor,
    pub accumulate: bool,
}

/// One node's forward pass.
///
/// The tape vouches that inputs, parameters, output, saved values and workspace don't overlap
/// and live for `'a`; that is what makes the slices sound.
pub struct Forward<'a> {
    pub device: &'a Device,
    /// The node's name.
    pub node: &'a str,
    /// The output box to compute.
    pub region: Region,
    pub state: RunState,
    /// Where kernels read `state`; 0 on the CPU.
    pub state_address: u64,
    /// Sample id (u64) of each image, the key of random masks; on the host and for kernels.
    pub samples: &'a [u64],
    pub samples_address: u64,
    pub faults: Option<ArmedFaults<'a>>,
    /// Nodes that run with this one, on the CPU; the output is the last one's.
    pub steps: &'a [Step<'a>],
    /// The same on other devices.
    pub device_steps: &'a [DeviceStep],
    /// Whether the CPU may use every core for this one pass.
    pub parallel: bool,
    /// The first parameter as the CPU's matrix products like it best (`ops::pack_weight`), if there is
    /// such a copy.
    pub packed: Option<&'a [f32]>,
    pub inputs: &'a [Tensor],
    pub params: &'a [Tensor],
    pub output: Tensor,
    /// Saved values and scratch memory: views of bytes (spec: a vector of f32).
    pub saved: Tensor,
    pub workspace: Tensor,
}

/// One node's backward pass, over the whole batch of `state.images`. What overlaps is as in
/// [`Forward`].
pub struct Backward<'a> {
    pub device: &'a Device,
    pub node: &'a str,
    pub state: RunState,
    pub state_address: u64,
    pub samples: &'a [u64],
    pub samples_address: u64,
    /// Values; only those that [`super::SavedForBackward`] names are still there.
    pub inputs: &'a [Tensor],
    pub params: &'a [Tensor],
    pub output: Tensor,
    pub saved: Tensor,
    pub workspace: Tensor,
    pub output_gradient: Tensor,
    /// One an input; `None` where nobody asks for it.
    pub input_gradients: &'a [Option<Gradient>],
    /// One a parameter; `None` for state.
    pub param_gradients: &'a [Option<Gradient>],
}

macro_rules! host_views {
    ($context:ident) => {
        impl<'a> $context<'a> {
            /// Valid images.
            pub fn images(&self) -> usize {
                self.state.images as usize
            }

            /// Values of an input, on the CPU.
            pub fn input(&self, index: usize) -> &'a [f32] {
                self.host(self.inputs[index])
            }

            /// Values of a u32 input (labels), on the CPU.
            pub fn input_u32(&self, index: usize) -> &'a [u32] {
                debug_assert!(self.device.is_cpu());
                // SAFETY: see the struct.
                unsafe { self.inputs[index].slice() }
            }

            /// The map of an input.
            pub fn input_map(&self, index: usize) -> Map {
                self.inputs[index].map()
            }

            /// Values of a parameter, on the CPU.
            pub fn param(&self, index: usize) -> &'a [f32] {
                self.host(self.params[index])
            }

            /// Values of a table of indices, on the CPU.
            pub fn param_u32(&self, index: usize) -> &'a [u32] {
                debug_assert!(self.device.is_cpu());
                // SAFETY: see the struct.
                unsafe { self.params[index].slice() }
            }

            /// Scratch memory, on the CPU.
            pub fn workspace(&mut self) -> &'a mut [f32] {
                self.host_mut(self.workspace)
            }

            /// Launches a kernel on a device that isn't the CPU.
            pub fn launch<A: KernelArgs>(
                &self,
                kernel: &'static str,
                grid: [u32; 3],
                block: [u32; 3],
                args: &A,
            ) -> Result<()> {
                self.device.launch(kernel, grid, block, args)
            }

            fn host(&self, tensor: Tensor) -> &'a [f32] {
                debug_assert!(self.device.is_cpu());
                // SAFETY: see the struct.
                unsafe { tensor.slice() }
            }

            /// Each view is asked for once a pass.
            fn host_mut(&mut self, tensor: Tensor) -> &'a mut [f32] {
                debug_assert!(self.device.is_cpu());
                // SAFETY: see the struct.
                unsafe { tensor.slice_mut() }
            }
        }
    };
}

host_views!(Forward);
host_views!(Backward);

impl<'a> Forward<'a> {
    /// The output, on the CPU; ask once.
    pub fn output(&mut self) -> &'a mut [f32] {
        self.host_mut(self.output)
    }

    /// The output's map.
    pub fn output_map(&self) -> Map {
        self.output.map()
    }

    /// What backward will read, on the CPU; ask once.
    pub fn saved(&mut self) -> &'a mut [f32] {
        self.host_mut(self.saved)
    }

    /// State (running statistics) to be updated, on the CPU; ask once a parameter.
    pub fn param_mut(&mut self, index: usize) -> &'a mut [f32] {
        self.host_mut(self.params[index])
    }

    /// State of u32, on the CPU; ask once a parameter.
    pub fn param_u32_mut(&mut self, index: usize) -> &'a mut [u32] {
        debug_assert!(self.device.is_cpu());
        // SAFETY: see the struct.
        unsafe { self.params[index].slice_mut() }
    }

    /// Whether batch statistics and random masks are used.
    pub fn training(&self) -> bool {
        self.state.training != 0
    }

    /// Kernels compute whole maps; a part of one is asked for on the CPU only.
    ///
    /// # Errors
    /// [`Error::Kernel`] for a box that isn't all of the valid images.
    pub fn require_whole(&self, kernel: &str) -> Result<()> {
        if self.region == Region::full(self.images(), self.output_map()) {
            return Ok(());
        }
        Err(Error::Kernel {
            kernel: kernel.into(),
            detail: format!("computes whole batches, not the box {:?}", self.region),
        })
    }
}

impl<'a> Backward<'a> {
    /// The gradient that comes from behind, on the CPU.
    pub fn output_gradient(&self) -> &'a [f32] {
        self.host(self.output_gradient)
    }

    /// The output's value, on the CPU.
    pub fn output(&self) -> &'a [f32] {
        self.host(self.output)
    }

    /// The output's map.
    pub fn output_map(&self) -> Map {
        self.output.map()
    }

    /// What forward saved, on the CPU.
    pub fn saved(&self) -> &'a [f32] {
        self.host(self.saved)
    }

    /// The gradient of an input to write, and whether to add; on the CPU, ask once.
    pub fn input_gradient(&mut self, index: usize) -> Option<(&'a mut [f32], bool)> {
        let gradient = self.input_gradients[index]?;
        Some((self.host_mut(gradient.tensor), gradient.accumulate))
    }

    /// The gradient of a parameter to write, and whether to add; on the CPU, ask once.
    pub fn param_gradient(&mut self, index: usize) -> Option<(&'a mut [f32], bool)> {
        let gradient = self.param_gradients[index]?;
        Some((self.host_mut(gradient.tensor), gradient.accumulate))
    }
}
