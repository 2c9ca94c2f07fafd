//! Operations: one folder each. `mod.rs` says what it computes and declares itself to the tape,
//! `cpu.rs` computes it natively, `cuda.rs` holds the arguments and the grid of its kernels.

pub mod activation;
pub mod adamw;
pub mod adaptive_avg_pool;
pub mod add;
pub mod arenas;
pub mod attention;
mod averaging;
pub mod avg_pool;
pub mod batch_norm;
pub mod canvas;
pub mod ceiling;
pub mod constant;
mod context;
pub mod conv2d;
pub mod cross_entropy;
pub mod dropout;
mod elementwise;
pub mod ema;
pub(crate) mod epilogue;
mod exponential;
pub mod gated_sum;
pub mod gather;
pub(crate) mod gemm;
pub mod grad_norm;
pub mod l2_normalize;
pub mod layer_norm;
pub mod linear;
mod mask;
pub mod max_pool;
pub mod memory_fault;
pub mod multiply;
mod param;
mod place;
mod product;
mod run_state;
pub mod scale;
pub mod sgd;
pub(crate) mod simd;
pub mod slice;
pub mod softmax;
mod variant;
mod wide;
pub mod window;

pub use arenas::Arenas;
pub use context::{
    ArmedFaults, BackwardPass, ForwardPass, Gradient, HostBackward, HostForward, KernelBackward,
    KernelForward,
};
pub use epilogue::{DeviceStep, Step, StepKind};
pub use param::{Init, Layout, ParamSpec, Role, Start};
pub use run_state::RunState;
pub use variant::{KernelVariant, Sharing};

use crate::device::Device;
use crate::fault::{Site, SiteSpace};
use crate::number::Compute;
use crate::tensor::{Region, Spec, Tensor};
use crate::{Error, Result};

/// What backward reads besides the gradient of the output. Values that nobody needs are freed by
/// the `train` plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedForBackward {
    /// Which inputs' values (one flag an input; missing flags mean no).
    pub inputs: Vec<bool>,
    /// Whether the output's value.
    pub output: bool,
}

/// What one image costs in one forward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Multiply-accumulates.
    pub macs: u64,
    /// Bytes that must move: inputs and parameters read once, the output written once.
    pub bytes: u64,
}

/// The GEMM view of one image of an injectable layer: y\[m, n\] = bias\[n\] + Σ_κ A\[m, κ\]·B\[κ, n\].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GemmView {
    /// Output pixels.
    pub m: usize,
    /// Output channels.
    pub n: usize,
    /// Terms a sum, padding taps counted (a group's, for grouped convolutions).
    pub k: usize,
}

/// An operation of the tape: its declarations, and its passes on every device.
///
/// `inputs` are always the specs of the input values, in order. Sizes are for one image unless a
/// `batch` is given. A node whose inputs are all shared (or that has none) has a shared value
/// itself and is run as a batch of one; an operation that reads a shared value beside others says
/// so, and adds up over the images the gradient that it sends there.
pub trait Op: Send + Sync + std::fmt::Debug {
    /// The name of its folder and kernels: `conv2d`.
    fn kind(&self) -> &'static str;

    /// The output's shape, or what is wrong with the inputs.
    fn output(&self, inputs: &[Spec]) -> Result<Spec>;

    /// Parameters and state, in the order in which the passes see them.
    fn params(&self) -> Vec<ParamSpec> {
        Vec::new()
    }

    /// What backward reads.
    fn needs(&self) -> SavedForBackward;

    /// Bytes of values that forward saves for backward, for a batch.
    fn saved_bytes(&self, _inputs: &[Spec], _batch: usize) -> usize {
        0
    }

    /// Bytes of scratch memory that forward may use for a batch and, while `training`, backward.
    fn workspace_bytes(&self, _inputs: &[Spec], _batch: usize, _training: bool) -> usize {
        0
    }

    /// Whether the output is the input's memory under another shape; nothing is run then.
    fn is_view(&self) -> bool {
        false
    }

    /// What one image costs, less the parameters' bytes, which the tape adds.
    fn cost(&self, inputs: &[Spec]) -> Cost {
        let read: usize = inputs.iter().map(Spec::image_bytes).sum();
        let written = self.output(inputs).map_or(0, |spec| spec.image_bytes());
        Cost { macs: 0, bytes: (read + written) as u64 }
    }

    /// The part of the output that can change when `region` of input number `input` changes (in
    /// eval mode, where images don't touch each other).
    fn reach(&self, input: usize, region: Region, inputs: &[Spec], output: &Spec) -> Region;

    /// The GEMM view of layers that faults can be injected into.
    fn gemm_view(&self, _inputs: &[Spec]) -> Option<GemmView> {
        None
    }

    /// The convolution that it is, if it is one; a linear layer is.
    fn as_conv2d(&self) -> Option<&conv2d::Conv2d> {
        None
    }

    /// The numbers of it, under PyTorch's names, that its shapes don't tell; for whoever has a peer do
    /// the same. Two operations of a kind with the same numbers and shapes compute the same.
    fn settings(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// How many places a fault site has in one image; `None` where the operation doesn't have it.
    /// Layers with a GEMM view have all but attention's two and `weight`.
    fn site_space(&self, site: Site, inputs: &[Spec]) -> Option<SiteSpace> {
        gemm_sites(self.gemm_view(inputs)?, site, inputs)
    }

    /// Heads of attention; 0 for everything else.
    fn heads(&self) -> usize {
        0
    }

    /// The kernel that computes it on devices other than the CPU, for layers with a GEMM view, where a
    /// device multiplies as `compute` says.
    fn variant(&self, _inputs: &[Spec], _compute: Compute) -> Option<KernelVariant> {
        None
    }

    /// Whether PyTorch's forward hooks see it: not a layer that is called as a bare function.
    fn is_hooked(&self) -> bool {
        true
    }

    /// Whether forward, in eval mode, also runs the steps of the nodes behind it.
    fn takes_steps(&self) -> bool {
        false
    }

    /// The kind of step that it can be, element by element on its first or second input.
    fn step_kind(&self) -> Option<StepKind> {
        None
    }

    /// It as a step: `params` as in the passes, `other` the values of its other input if it has two.
    fn step<'a>(&self, _params: &[&'a [f32]], _other: Option<&'a [f32]>) -> Option<Step<'a>> {
        None
    }

    /// The same for kernels.
    fn device_step(&self, _params: &[Tensor], _other: Option<Tensor>) -> Option<DeviceStep> {
        None
    }

    /// Computes the output over `ctx.region`, on the CPU; its bits equal the same elements of a full run.
    fn forward(&self, ctx: &mut HostForward<'_>) -> Result<()>;

    /// Computes the gradients of inputs and parameters, of the whole batch, on the CPU.
    fn backward(&self, ctx: &mut HostBackward<'_>) -> Result<()>;

    /// The kernels that do what [`Op::forward`] does, on other devices, of the whole batch.
    fn launch_forward(&self, ctx: &KernelForward<'_>) -> Result<()> {
        Err(without_kernels(self.kind(), ctx.device))
    }

    /// The kernels that do what [`Op::backward`] does.
    fn launch_backward(&self, ctx: &KernelBackward<'_>) -> Result<()> {
        Err(without_kernels(self.kind(), ctx.device))
    }
}

/// The passes of an operation, by the functions `forward` and `backward` of its modules `cpu` and `cuda`, which take the
/// operation as `op => …` says, if they take it, and the context.
macro_rules! passes {
    ($($op:ident => $value:expr)?) => {
        fn forward(&self, ctx: &mut $crate::ops::HostForward<'_>) -> $crate::Result<()> {
            $(let $op = self;)?
            cpu::forward($($value,)? ctx)
        }

        fn backward(&self, ctx: &mut $crate::ops::HostBackward<'_>) -> $crate::Result<()> {
            $(let $op = self;)?
            cpu::backward($($value,)? ctx)
        }

        fn launch_forward(&self, ctx: &$crate::ops::KernelForward<'_>) -> $crate::Result<()> {
            $(let $op = self;)?
            cuda::forward($($value,)? ctx)
        }

        fn launch_backward(&self, ctx: &$crate::ops::KernelBackward<'_>) -> $crate::Result<()> {
            $(let $op = self;)?
            cuda::backward($($value,)? ctx)
        }
    };
}

use passes;

fn without_kernels(op: &str, device: &Device) -> Error {
    Error::Unsupported { op: op.into(), device: device.kind().to_string() }
}

/// A copy of the weight of a convolution or linear layer for [`Forward::packed`]; `None` where products
/// of the CPU would have no use for it.
pub(crate) fn pack_weight(op: &dyn Op, weight: &[f32]) -> Option<Vec<f32>> {
    let conv = op.as_conv2d().filter(|conv| conv.groups == 1)?;
    Some(gemm::pack(weight, conv.out_channels))
}

/// How many places a fault site has in a layer of this GEMM view; see [`Op::site_space`].
fn gemm_sites(view: GemmView, site: Site, inputs: &[Spec]) -> Option<SiteSpace> {
    let elements = (view.m * view.n) as u64;
    let terms = view.k as u32;
    let (elements, k) = match site {
        Site::Output | Site::StoreLost => (elements, [0, 1]),
        Site::Accumulator => (elements, [1, terms + 1]),
        Site::OperandA | Site::OperandB | Site::SharedA | Site::SharedB => (elements, [0, terms]),
        // The bits of a byte offset that move whole elements; outside the output all are alike.
        Site::StoreAstray => (elements, [2, 48]),
        Site::Input => (inputs[0].map.elements() as u64, [0, 1]),
        Site::Weight | Site::Scores | Site::Probabilities => return None,
    };
    Some(SiteSpace { elements, k })
}
