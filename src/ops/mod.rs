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
pub mod binary_cross_entropy;
pub mod broadcast;
pub mod canvas;
pub mod ceiling;
pub mod constant;
mod context;
pub mod conv2d;
pub mod cross_entropy;
mod curve;
pub mod dropout;
mod elementwise;
pub mod ema;
pub(crate) mod epilogue;
pub mod gated_sum;
pub mod gather;
pub mod grad_norm;
pub mod l2_normalize;
pub mod layer_norm;
pub mod linear;
mod mask;
pub mod matmul;
pub mod max_pool;
pub mod memory_fault;
pub mod multiply;
mod param;
mod pixels;
mod place;
mod product;
pub mod rearrange;
pub mod reduce;
pub mod rmsprop;
mod run_state;
pub mod scale;
pub mod sgd;
mod sites;
pub mod slice;
pub mod softmax;
mod targets;
pub mod unary;
mod variant;
pub mod window;
pub mod words;

pub use arenas::Arenas;
pub use context::{
    ArmedFaults, BackwardPass, ForwardPass, Gradient, HostBackward, HostForward, KernelBackward,
    KernelForward,
};
pub use epilogue::{Step, StepPass};
pub use param::{Init, Layout, ParamSpec, Role, Start};
pub use run_state::RunState;
pub use sites::{GemmView, Sites};
pub use variant::{KernelVariant, Sharing};

use std::any::Any;

use crate::Result;
use crate::number::Compute;
use crate::tensor::{Region, Spec};

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

/// Bytes of memory that an operation's passes need for a batch, besides values, parameters and gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassBytes {
    /// Of values that forward saves for backward.
    pub saved: usize,
    /// Of scratch memory.
    pub workspace: usize,
}

/// An operation of the tape: its declarations, and its passes on every device.
///
/// `inputs` are always the specs of the input values, in order. Sizes are for one image unless a
/// `batch` is given. A node whose inputs are all shared (or that has none) has a shared value
/// itself and is run as a batch of one; an operation that reads a shared value beside others says
/// so, and adds up over the images the gradient that it sends there.
///
/// # Safety
/// The tape lays memory out by what an operation declares, and nothing checks later what its passes do with it:
/// - the declarations follow from the operation and their arguments alone, the same at every call;
/// - passes and kernels stay within the views of their context, for every shape that `output` accepts;
/// - a context is handed on to an operation of the same declarations at most;
/// - the gradients of two inputs, which may be one value, aren't held at the same time.
pub unsafe trait Op: Any + Send + Sync + std::fmt::Debug {
    /// The name of its folder and kernels: `conv2d`.
    fn kind(&self) -> &'static str;

    /// The output's shape, at first the first input's, or what is wrong with the inputs.
    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        Ok(inputs[0])
    }

    /// Whether it reads one map for all images as input number `input`, beside inputs that have one an image.
    fn takes_shared(&self, _input: usize) -> bool {
        false
    }

    /// Parameters and state, in the order in which the passes see them.
    fn params(&self) -> Vec<ParamSpec> {
        Vec::new()
    }

    /// What backward reads.
    fn needs(&self) -> SavedForBackward {
        SavedForBackward::default()
    }

    /// Memory for the passes of a batch: forward's alone or, while `training`, that of both.
    fn bytes(&self, _inputs: &[Spec], _batch: usize, _training: bool) -> PassBytes {
        PassBytes::default()
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

    /// Where faults can hit it.
    fn sites(&self, _inputs: &[Spec]) -> Sites {
        Sites::None
    }

    /// The kernel that computes it on devices other than the CPU, for layers with a GEMM view, where a
    /// device multiplies as `compute` says.
    fn variant(&self, _inputs: &[Spec], _compute: Compute) -> Option<KernelVariant> {
        None
    }

    /// The step that it is in eval mode, where it treats its first or second input element by element.
    fn step(&self) -> Option<Step> {
        None
    }

    /// Computes the output over `ctx.region`, on the CPU; its bits equal the same elements of a full run.
    fn forward(&self, ctx: &mut HostForward<'_>) -> Result<()>;

    /// Computes the gradients of inputs and parameters, of the whole batch, on the CPU.
    fn backward(&self, ctx: &mut HostBackward<'_>) -> Result<()>;

    /// The kernels that do what [`Op::forward`] does, on other devices, of the whole batch.
    fn launch_forward(&self, ctx: &KernelForward<'_>) -> Result<()> {
        Err(ctx.device.unsupported(self.kind()))
    }

    /// The kernels that do what [`Op::backward`] does.
    fn launch_backward(&self, ctx: &KernelBackward<'_>) -> Result<()> {
        Err(ctx.device.unsupported(self.kind()))
    }
}

/// The kind of an operation, and its passes by the functions `forward` and `backward` of its modules `cpu` and `cuda`,
/// which take the operation as `op => …` says, if they take it, and the context.
macro_rules! passes {
    ($kind:literal $(, $op:ident => $value:expr)?) => {
        fn kind(&self) -> &'static str {
            $kind
        }

        $crate::ops::passes!($($op => $value)?);
    };
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
