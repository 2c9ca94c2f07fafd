//! Arguments and grids of `kernels/pointwise/activation.cu`.

use super::Activation;
use crate::Result;
use crate::device::args::{ActivationBackwardArgs, ActivationForwardArgs};
use crate::ops::{KernelBackward, KernelForward, place};

/// The kernels of both passes.
const fn kernels(activation: Activation) -> [&'static str; 2] {
    match activation {
        Activation::Relu => ["relu_forward_f32", "relu_backward_f32"],
        Activation::Relu6 => ["relu6_forward_f32", "relu6_backward_f32"],
        Activation::Silu => ["silu_forward_f32", "silu_backward_f32"],
        Activation::Gelu => ["gelu_forward_f32", "gelu_backward_f32"],
        Activation::GeluTanh => ["gelu_tanh_forward_f32", "gelu_tanh_backward_f32"],
        Activation::Sigmoid => ["sigmoid_forward_f32", "sigmoid_backward_f32"],
        Activation::QuickGelu => ["quick_gelu_forward_f32", "quick_gelu_backward_f32"],
        Activation::Tanh => ["tanh_forward_f32", "tanh_backward_f32"],
        Activation::HardSigmoid => ["hard_sigmoid_forward_f32", "hard_sigmoid_backward_f32"],
        Activation::HardSwish => ["hard_swish_forward_f32", "hard_swish_backward_f32"],
    }
}

pub fn forward(activation: Activation, ctx: &KernelForward<'_>) -> Result<()> {
    let [kernel, _] = kernels(activation);
    let args = ActivationForwardArgs {
        x: ctx.inputs[0].address,
        y: ctx.output.address,
        state: ctx.state_address,
        elements: ctx.output_map().elements() as u32,
    };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch(kernel, place::quads(ctx.output), &args) }
}

pub fn backward(activation: Activation, ctx: &KernelBackward<'_>) -> Result<()> {
    let [_, kernel] = kernels(activation);
    let Some(dx) = ctx.input_gradients[0] else { return Ok(()) };
    let kept = if activation.keeps_output() { ctx.output } else { ctx.inputs[0] };
    let args = ActivationBackwardArgs {
        kept: kept.address,
        dy: ctx.output_gradient.address,
        dx: dx.tensor.address,
        state: ctx.state_address,
        elements: dx.tensor.map().elements() as u32,
        accumulate: dx.accumulate.into(),
    };
    // SAFETY: the arguments are views of `ctx`.
    unsafe { ctx.launch(kernel, place::quads(dx.tensor), &args) }
}
