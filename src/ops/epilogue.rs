//! What happens to the finished sums of a convolution or linear layer before they are in memory: bias,
//! fault, and the steps of the nodes that run with it. The CPU takes them through while they are in the
//! first-level cache, in the order of the nodes; kernels while they are in registers
//! (`kernels/conv2d/epilogue.cuh`), in one order: batch norm, addition, activation.
//!
//! Each step gives the bits that its own node would.

use super::activation::{self, Activation};
use super::batch_norm::{self, BatchNorm};
use crate::cpu::gemm::{Finish, SendPtr};
use crate::cpu::simd::{InstructionSet, compiled};
use crate::device::args::EpilogueArgs;
use crate::fault::FaultTable;
use crate::tensor::{Map, Tensor};

/// What a node that runs with the convolution or linear layer before it does to each element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Batch norm in eval mode.
    Norm(BatchNorm),
    /// The addition of a value of the output's shape.
    Add,
    Activate(Activation),
}

impl Step {
    /// Its place in the order in which kernels take steps, each at most once.
    pub const fn place(self) -> usize {
        match self {
            Step::Norm(_) => 0,
            Step::Add => 1,
            Step::Activate(_) => 2,
        }
    }
}

/// A step of one pass.
#[derive(Clone, Debug)]
pub struct StepPass {
    pub step: Step,
    /// The node's parameters, then the values of inputs from outside of the launch.
    pub operands: Vec<Tensor>,
}

/// A step as the CPU takes it.
pub enum HostStep<'a> {
    /// y = fmaf(x, scale, shift), one of each a channel.
    Affine { scale: Vec<f32>, shift: Vec<f32> },
    /// y = x + values, a batch of maps of the output's shape.
    Add { values: &'a [f32] },
    /// y = f(x).
    Activate(Activation),
}

impl<'a> HostStep<'a> {
    /// # Safety
    /// The operands are memory of the host that lives for `'a` and isn't written meanwhile.
    pub unsafe fn of(pass: &StepPass) -> HostStep<'a> {
        // SAFETY: the caller's.
        let operand = |index: usize| -> &'a [f32] { unsafe { pass.operands[index].slice() } };
        match pass.step {
            Step::Norm(norm) => {
                let (scale, shift) = norm.scale_and_shift(batch_norm::EVAL_PARAMS.map(operand));
                HostStep::Affine { scale, shift }
            }
            Step::Add => HostStep::Add { values: operand(0) },
            Step::Activate(activation) => HostStep::Activate(activation),
        }
    }
}

impl EpilogueArgs {
    /// Those of `steps`, which the tape has put in the kernels' order, without a bias.
    pub fn of(steps: &[StepPass]) -> EpilogueArgs {
        let mut args = EpilogueArgs::default();
        for StepPass { step, operands } in steps {
            let address = |index: usize| operands[index].address;
            match *step {
                Step::Norm(norm) => {
                    [args.norm_weight, args.norm_bias, args.norm_mean, args.norm_var] =
                        batch_norm::EVAL_PARAMS.map(address);
                    args.norm_eps = norm.eps;
                }
                Step::Add => args.residual = address(0),
                Step::Activate(activation) => args.activation = activation_code(activation),
            }
        }
        args
    }
}

/// `ActivationCode` of `kernels/conv2d/epilogue.cuh`.
const fn activation_code(activation: Activation) -> u32 {
    match activation {
        Activation::Relu => 1,
        Activation::Relu6 => 2,
        Activation::Silu => 3,
        Activation::Gelu => 4,
        Activation::GeluTanh => 5,
        Activation::Sigmoid => 6,
        Activation::QuickGelu => 7,
        Activation::Tanh => 8,
        Activation::HardSigmoid => 9,
        Activation::HardSwish => 10,
    }
}

/// [`Epilogue::run`], compiled for an instruction set.
type RunFn = unsafe fn(&Epilogue<'_>, usize, usize, &mut [f32]);

/// Bias, faults and steps of one launch.
pub(crate) struct Epilogue<'a> {
    /// One a channel.
    bias: Option<&'a [f32]>,
    faults: Option<&'a FaultTable>,
    steps: &'a [HostStep<'a>],
    /// Where the batch's output begins, and its map.
    output: SendPtr<f32>,
    map: Map,
    /// [`Epilogue::run`] for this machine: it is too large to be inlined into the products, so that it is compiled for
    /// the instruction set by itself.
    run: RunFn,
}

impl Finish for Epilogue<'_> {
    #[inline(always)]
    fn finish(&self, _: usize, channel: usize, sums: &mut [f32]) {
        // Sums are finished where they lie in the output.
        let offset = (sums.as_ptr().addr() - self.output.get().addr()) / size_of::<f32>();
        // SAFETY: `new` has it compiled for this machine.
        unsafe { (self.run)(self, offset, channel, sums) };
    }
}

impl<'a> Epilogue<'a> {
    /// For sums that are finished where they lie in a batch of maps at `output`.
    pub fn new(
        bias: Option<&'a [f32]>,
        faults: Option<&'a FaultTable>,
        steps: &'a [HostStep<'a>],
        (output, map): (SendPtr<f32>, Map),
    ) -> Epilogue<'a> {
        let run = compiled!(
            InstructionSet::best(),
            Epilogue::run(of: &Epilogue<'_>, offset: usize, channel: usize, sums: &mut [f32])
        );
        Epilogue { bias, faults, steps, output, map, run }
    }

    /// Finishes the sums of one pixel's channels from `channel` on, which start at element `offset`
    /// of the batch.
    #[inline(always)]
    fn run(&self, offset: usize, channel: usize, sums: &mut [f32]) {
        let count = sums.len();
        if let Some(bias) = self.bias {
            for (sum, bias) in sums.iter_mut().zip(&bias[channel..channel + count]) {
                *sum += bias;
            }
        }
        if let Some(faults) = self.faults {
            self.hit(faults, offset, channel, sums);
        }
        let mut steps = self.steps;
        while let [step, rest @ ..] = steps {
            steps = rest;
            match (step, rest) {
                // The pairs and triples of residual networks, in one go over the sums.
                (
                    HostStep::Affine { scale, shift },
                    [HostStep::Add { values }, HostStep::Activate(Activation::Relu), rest @ ..],
                ) => {
                    steps = rest;
                    let (scale, shift) =
                        (&scale[channel..channel + count], &shift[channel..channel + count]);
                    let values = &values[offset..offset + count];
                    for at in 0..count {
                        let sum = sums[at].mul_add(scale[at], shift[at]) + values[at];
                        sums[at] = if sum < 0.0 { 0.0 } else { sum };
                    }
                }
                (
                    HostStep::Affine { scale, shift },
                    [HostStep::Activate(Activation::Relu), rest @ ..],
                ) => {
                    steps = rest;
                    let (scale, shift) =
                        (&scale[channel..channel + count], &shift[channel..channel + count]);
                    for at in 0..count {
                        let sum = sums[at].mul_add(scale[at], shift[at]);
                        sums[at] = if sum < 0.0 { 0.0 } else { sum };
                    }
                }
                (HostStep::Affine { scale, shift }, _) => {
                    let (scale, shift) =
                        (&scale[channel..channel + count], &shift[channel..channel + count]);
                    for at in 0..count {
                        sums[at] = sums[at].mul_add(scale[at], shift[at]);
                    }
                }
                (HostStep::Add { values }, _) => {
                    for (sum, value) in sums.iter_mut().zip(&values[offset..offset + count]) {
                        *sum += value;
                    }
                }
                (HostStep::Activate(kind), _) => activation::apply(*kind, sums),
            }
        }
    }

    #[cold]
    fn hit(&self, faults: &FaultTable, offset: usize, channel: usize, sums: &mut [f32]) {
        let (image, rest) = (offset / self.map.elements(), offset % self.map.elements());
        faults.hit(self.map, image, rest / self.map.channels, channel, sums);
    }
}
