//! Arguments and grids of `kernels/pointwise/unary.cu`.

use super::Unary;
use crate::Result;
use crate::device::args::{UnaryBackwardArgs, UnaryForwardArgs};
use crate::ops::{KernelBackward, KernelForward, place};

/// The function's number in the kernel file, and its own numbers.
const fn function(unary: Unary) -> (u32, [f32; 2]) {
    match unary {
        Unary::LeakyRelu { slope } => (0, [slope, 0.0]),
        Unary::Clip { low, high } => (1, [low, high]),
        Unary::Elu { alpha } => (2, [alpha, 1.0]),
        Unary::Selu { alpha, gamma } => (2, [alpha, gamma]),
        Unary::HardSigmoid { slope, shift } => (3, [slope, shift]),
        Unary::Softplus => (4, [0.0; 2]),
        Unary::Softsign => (5, [0.0; 2]),
        Unary::Mish => (6, [0.0; 2]),
        Unary::Erf => (7, [0.0; 2]),
        Unary::Sqrt => (8, [0.0; 2]),
        Unary::Exp => (9, [0.0; 2]),
        Unary::Log => (10, [0.0; 2]),
        Unary::Reciprocal => (11, [0.0; 2]),
        Unary::Abs => (12, [0.0; 2]),
    }
}

pub fn forward(unary: Unary, ctx: &KernelForward<'_>) -> Result<()> {
    let (function, numbers) = function(unary);
    let args = UnaryForwardArgs {
        x: ctx.inputs[0].address,
        y: ctx.output.address,
        state: ctx.state_address,
        elements: ctx.output_map().elements() as u32,
        function,
        numbers,
    };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("unary_forward_f32", place::quads(ctx.output), &args) }
}

pub fn backward(unary: Unary, ctx: &KernelBackward<'_>) -> Result<()> {
    let Some(dx) = ctx.input_gradients[0] else { return Ok(()) };
    let kept = if unary.keeps_output() { ctx.output } else { ctx.inputs[0] };
    let (function, numbers) = function(unary);
    let args = UnaryBackwardArgs {
        kept: kept.address,
        dy: ctx.output_gradient.address,
        dx: dx.tensor.address,
        state: ctx.state_address,
        elements: dx.tensor.map().elements() as u32,
        accumulate: dx.accumulate.into(),
        function,
        numbers,
    };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch("unary_backward_f32", place::quads(dx.tensor), &args) }
}
