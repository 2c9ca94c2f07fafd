//! What an operation's passes are given: views of memory, and what to do with it.
//!
//! A pass is described by a [`ForwardPass`] or a [`BackwardPass`], which is plain data. Who vouches for its memory makes
//! one of two contexts of it: on the CPU a [`HostForward`], whose views are slices; on other devices a
//! [`KernelForward`], whose views are addresses for kernels. Backward likewise.

use std::ops::Deref;

use super::epilogue::HostStep;
use super::{RunState, SavedForBackward, StepPass};
use crate::device::{Device, KernelArgs, LaunchConfig};
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
pub struct ForwardPass<'a> {
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
    /// Nodes that run with this one; the output is the last one's.
    pub steps: &'a [StepPass],
    /// Whether the CPU may use every core for this one pass.
    pub parallel: bool,
    /// The first parameter packed for the CPU's matrix products (`gemm::pack`), if there is such a
    /// copy.
    pub packed: Option<&'a [f32]>,
    pub inputs: &'a [Tensor],
    pub params: &'a [Tensor],
    pub output: Tensor,
    /// Saved values and scratch memory: views of bytes (spec: a vector of f32).
    pub saved: Tensor,
    pub workspace: Tensor,
}

/// One node's backward pass, over the whole batch of `state.images`.
pub struct BackwardPass<'a> {
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

macro_rules! common {
    ($pass:ident) => {
        impl $pass<'_> {
            /// Valid images.
            pub fn images(&self) -> usize {
                self.state.images as usize
            }

            /// The map of an input.
            pub fn input_map(&self, index: usize) -> Map {
                self.inputs[index].map()
            }

            /// The output's map.
            pub fn output_map(&self) -> Map {
                self.output.map()
            }

            /// Whether batch statistics and random masks are used.
            pub fn training(&self) -> bool {
                self.state.training != 0
            }
        }
    };
}

common!(ForwardPass);
common!(BackwardPass);

impl ForwardPass<'_> {
    /// Refuses a part of the output where `what` computes whole batches.
    ///
    /// # Errors
    /// [`Error::Usage`] for a box that isn't all of the valid images.
    pub fn require_whole(&self, what: &str) -> Result<()> {
        if self.region == Region::full(self.images(), self.output_map()) {
            return Ok(());
        }
        let (node, region) = (self.node, self.region);
        Err(Error::usage(format!("{node}: {what} computes whole batches, not the box {region:?}")))
    }
}

/// A forward pass on the CPU. What is written is handed out once: who asks again panics.
pub struct HostForward<'a> {
    pass: ForwardPass<'a>,
    output: Option<Tensor>,
    saved: Option<Tensor>,
    workspace: Option<Tensor>,
}

/// A backward pass on the CPU. What is written is handed out once, as in [`HostForward`].
pub struct HostBackward<'a> {
    pass: BackwardPass<'a>,
    workspace: Option<Tensor>,
    input_gradients: Vec<Option<Gradient>>,
    param_gradients: Vec<Option<Gradient>>,
    needs: SavedForBackward,
}

/// A forward pass by kernels.
pub struct KernelForward<'a>(ForwardPass<'a>);

/// A backward pass by kernels.
pub struct KernelBackward<'a>(BackwardPass<'a>);

impl<'a> Deref for HostForward<'a> {
    type Target = ForwardPass<'a>;

    fn deref(&self) -> &ForwardPass<'a> {
        &self.pass
    }
}

impl<'a> Deref for HostBackward<'a> {
    type Target = BackwardPass<'a>;

    fn deref(&self) -> &BackwardPass<'a> {
        &self.pass
    }
}

macro_rules! kernel_context {
    ($context:ident, $pass:ident) => {
        impl<'a> Deref for $context<'a> {
            type Target = $pass<'a>;

            fn deref(&self) -> &$pass<'a> {
                &self.0
            }
        }

        impl<'a> $context<'a> {
            /// [Launches](Device::launch) a kernel.
            ///
            /// # Errors
            /// As [`Device::launch`].
            ///
            /// # Safety
            /// The addresses in `args` are of views of this pass (or 0, where the kernel takes that for nothing), and
            /// the kernel reads and writes within them, for the sizes in `args`.
            pub unsafe fn launch<A: KernelArgs>(
                &self,
                kernel: &'static str,
                config: LaunchConfig,
                args: &A,
            ) -> Result<()> {
                // SAFETY: the caller's, and that of `new`.
                unsafe { self.device.launch(kernel, config, args) }
            }
        }
    };
}

kernel_context!(KernelForward, ForwardPass);
kernel_context!(KernelBackward, BackwardPass);

impl<'a> KernelForward<'a> {
    /// The pass, on a device that isn't the CPU.
    ///
    /// # Errors
    /// As [`ForwardPass::require_whole`]: kernels compute whole batches.
    ///
    /// # Safety
    /// Every view is live memory of the pass's device until what is queued has happened, and as large as its spec says.
    /// What is written overlaps nothing else, and nobody else uses it meanwhile.
    pub unsafe fn new(pass: ForwardPass<'a>) -> Result<Self> {
        pass.require_whole("a kernel")?;
        Ok(KernelForward(pass))
    }
}

impl<'a> KernelBackward<'a> {
    /// The pass, on a device that isn't the CPU.
    ///
    /// # Safety
    /// As [`KernelForward::new`].
    pub unsafe fn new(pass: BackwardPass<'a>) -> Self {
        KernelBackward(pass)
    }

    /// Where the gradients lie that are asked for, 0 for others, and which of them are added to what is there: bit n
    /// for number n.
    pub fn addresses<const N: usize>(&self, gradients: [Option<Gradient>; N]) -> ([u64; N], u32) {
        let bit = |(n, gradient): (usize, &Option<Gradient>)| {
            u32::from(gradient.is_some_and(|gradient| gradient.accumulate)) << n
        };
        let accumulate = gradients.iter().enumerate().map(bit).sum();
        (
            gradients.map(|gradient| gradient.map_or(0, |gradient| gradient.tensor.address)),
            accumulate,
        )
    }
}

/// A view that is only read.
///
/// # Safety
/// As [`Tensor::slice`]'s.
unsafe fn read<'a, T: bytemuck::Pod>(tensor: Tensor) -> &'a [T] {
    // SAFETY: the caller's.
    unsafe { tensor.slice() }
}

/// A view that is written.
///
/// # Panics
/// Where it was handed out before.
///
/// # Safety
/// As [`Tensor::slice_mut`]'s.
unsafe fn write<'a>(view: &mut Option<Tensor>) -> &'a mut [f32] {
    let tensor = view.take();
    // SAFETY: the caller's.
    unsafe { tensor.expect("what is written is asked for once a pass").slice_mut() }
}

impl<'a> HostForward<'a> {
    /// The pass, on the CPU.
    ///
    /// # Safety
    /// Every view is memory of the host that lives for `'a` and is as large as its spec says. Output, saved values,
    /// workspace, and while training the parameters that are state, overlap nothing else, and nobody else uses them for
    /// `'a`; nobody writes to the other views.
    pub unsafe fn new(pass: ForwardPass<'a>) -> Self {
        let (output, saved, workspace) =
            (Some(pass.output), Some(pass.saved), Some(pass.workspace));
        HostForward { pass, output, saved, workspace }
    }

    /// Values of an input.
    pub fn input(&self, index: usize) -> &'a [f32] {
        // SAFETY: that of `new`; inputs are never written.
        unsafe { read(self.inputs[index]) }
    }

    /// Values of a u32 input (labels).
    pub fn input_u32(&self, index: usize) -> &'a [u32] {
        // SAFETY: as above.
        unsafe { read(self.inputs[index]) }
    }

    /// Values of a parameter.
    pub fn param(&self, index: usize) -> &[f32] {
        // SAFETY: that of `new`; while this is borrowed, so is `self`, by which alone it is written.
        unsafe { read(self.params[index]) }
    }

    /// Values of a table of indices.
    pub fn param_u32(&self, index: usize) -> &[u32] {
        // SAFETY: as above.
        unsafe { read(self.params[index]) }
    }

    /// The nodes that run with this one.
    pub(crate) fn steps(&self) -> Vec<HostStep<'a>> {
        // SAFETY: that of `new`, of parameters and inputs in eval mode, where nobody writes to them.
        self.steps.iter().map(|step| unsafe { HostStep::of(step) }).collect()
    }

    /// State (running statistics) to be updated: two parameters.
    ///
    /// # Panics
    /// For one parameter twice, and in eval mode, where others read them.
    pub fn two_params_mut(&mut self, [a, b]: [usize; 2]) -> [&mut [f32]; 2] {
        assert!(self.training(), "{}: parameters are shared in eval mode", self.node);
        assert_ne!(a, b, "a parameter is asked for twice");
        // SAFETY: that of `new`; `self` is borrowed as long, and they are two.
        [a, b].map(|index| unsafe { self.params[index].slice_mut() })
    }

    /// State of u32.
    ///
    /// # Panics
    /// In eval mode.
    pub fn param_u32_mut(&mut self, index: usize) -> &mut [u32] {
        assert!(self.training(), "{}: parameters are shared in eval mode", self.node);
        // SAFETY: that of `new`; `self` is borrowed as long.
        unsafe { self.params[index].slice_mut() }
    }

    /// The output, once.
    pub fn output(&mut self) -> &'a mut [f32] {
        // SAFETY: that of `new`.
        unsafe { write(&mut self.output) }
    }

    /// What backward will read, once.
    pub fn saved(&mut self) -> &'a mut [f32] {
        // SAFETY: that of `new`.
        unsafe { write(&mut self.saved) }
    }

    /// Scratch memory, once.
    pub fn workspace(&mut self) -> &'a mut [f32] {
        // SAFETY: that of `new`.
        unsafe { write(&mut self.workspace) }
    }
}

impl<'a> HostBackward<'a> {
    /// The pass, on the CPU.
    ///
    /// # Safety
    /// Every view is memory of the host that lives for `'a` and is as large as its spec says; of inputs and output those
    /// that `needs` names. The gradients of inputs and parameters, and the workspace, overlap nothing else, and
    /// nobody else uses them for `'a`; nobody writes to the other views.
    pub unsafe fn new(pass: BackwardPass<'a>, needs: SavedForBackward) -> Self {
        HostBackward {
            workspace: Some(pass.workspace),
            input_gradients: pass.input_gradients.to_vec(),
            param_gradients: pass.param_gradients.to_vec(),
            pass,
            needs,
        }
    }

    /// Values of an input that the operation needs.
    pub fn input(&self, index: usize) -> &'a [f32] {
        self.require(self.needs.inputs.get(index) == Some(&true));
        // SAFETY: that of `new`, as in all of these.
        unsafe { read(self.inputs[index]) }
    }

    /// Values of a u32 input (labels).
    pub fn input_u32(&self, index: usize) -> &'a [u32] {
        self.require(self.needs.inputs.get(index) == Some(&true));
        // SAFETY: that of `new`.
        unsafe { read(self.inputs[index]) }
    }

    /// # Panics
    /// Where a value is asked for that the operation didn't say it needs, and that may be gone.
    fn require(&self, is_needed: bool) {
        assert!(is_needed, "{}: backward reads a value that it didn't say it needs", self.node);
    }

    /// Values of a parameter.
    pub fn param(&self, index: usize) -> &'a [f32] {
        // SAFETY: that of `new`.
        unsafe { read(self.params[index]) }
    }

    /// Values of a table of indices.
    pub fn param_u32(&self, index: usize) -> &'a [u32] {
        // SAFETY: that of `new`.
        unsafe { read(self.params[index]) }
    }

    /// The output's value, if the operation needs it.
    pub fn output(&self) -> &'a [f32] {
        self.require(self.needs.output);
        // SAFETY: that of `new`.
        unsafe { read(self.pass.output) }
    }

    /// What forward saved.
    pub fn saved(&self) -> &'a [f32] {
        // SAFETY: that of `new`.
        unsafe { read(self.pass.saved) }
    }

    /// The gradient of the output.
    pub fn output_gradient(&self) -> &'a [f32] {
        // SAFETY: that of `new`.
        unsafe { read(self.pass.output_gradient) }
    }

    /// Scratch memory, once.
    pub fn workspace(&mut self) -> &'a mut [f32] {
        // SAFETY: that of `new`.
        unsafe { write(&mut self.workspace) }
    }

    /// The gradient of an input to write, and whether to add; once.
    pub fn input_gradient(&mut self, index: usize) -> Option<(&'a mut [f32], bool)> {
        let Gradient { tensor, accumulate } = self.input_gradients[index].take()?;
        // SAFETY: that of `new`.
        Some((unsafe { tensor.slice_mut() }, accumulate))
    }

    /// The gradient of a parameter to write, and whether to add; once.
    pub fn param_gradient(&mut self, index: usize) -> Option<(&'a mut [f32], bool)> {
        let Gradient { tensor, accumulate } = self.param_gradients[index].take()?;
        // SAFETY: that of `new`.
        Some((unsafe { tensor.slice_mut() }, accumulate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Spec;

    fn view(values: &mut [f32]) -> Tensor {
        let spec = Spec::f32(Map::vector(values.len()));
        Tensor { address: values.as_mut_ptr() as u64, spec, images: 1 }
    }

    /// Slices are held while others are asked for, which Miri watches.
    #[test]
    fn what_is_written_is_handed_out_once() {
        let device = Device::cpu();
        let mut memory = [[1f32, 2.0], [3.0, 4.0], [5.0, 6.0], [0.0; 2], [0.0; 2], [0.0; 2]];
        let [x, mean, var, y, saved, scratch] = memory.each_mut().map(|values| view(values));
        let nothing = Tensor { address: 0, images: 0, ..y };
        let pass = ForwardPass {
            device: &device,
            node: "test",
            region: Region::full(1, y.map()),
            state: RunState { images: 1, training: 1, ..RunState::default() },
            state_address: 0,
            samples: &[0],
            samples_address: 0,
            faults: None,
            steps: &[],
            parallel: false,
            packed: None,
            inputs: &[x, nothing],
            params: &[mean, var],
            output: y,
            saved,
            workspace: scratch,
        };
        // SAFETY: rows of `memory`, which nobody else uses.
        let mut ctx = unsafe { HostForward::new(pass) };
        let (x, y, saved, scratch) = (ctx.input(0), ctx.output(), ctx.saved(), ctx.workspace());
        let [mean, var] = ctx.two_params_mut([0, 1]);
        for c in 0..2 {
            scratch[c] = x[c] * 2.0;
            (mean[c], var[c]) = (mean[c] + 1.0, scratch[c]);
            y[c] = mean[c] + var[c];
            saved[c] = x[c];
        }
        assert_eq!((ctx.param(0), ctx.param(1)), (&[4.0, 5.0][..], &[2.0, 4.0][..]));
        assert_eq!((&*y, &*saved), (&[6.0, 9.0][..], &[1.0, 2.0][..]));
        assert!(ctx.input(1).is_empty(), "what has no address is empty");
        let again = std::panic::AssertUnwindSafe(|| ctx.output().len());
        assert!(std::panic::catch_unwind(again).is_err());
    }
}
