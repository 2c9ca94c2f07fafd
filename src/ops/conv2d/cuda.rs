//! Arguments and grids of `kernels/conv2d.cu`.

use super::{Conv2d, depthwise_cuda};
use crate::Result;
use crate::kernel_args;
use crate::ops::{Backward, Forward};
use crate::tensor::{Map, Tensor};

kernel_args! {
    /// One convolution; see the kernel's file.
    pub struct Conv2dArgs {
        pub x: u64,
        pub w: u64,
        pub y: u64,
        pub bias: u64,
        pub result: u64,
        pub state: u64,
        pub faults: u64,
        pub in_size: [u32; 2],
        pub out_size: [u32; 2],
        pub in_channels: u32,
        pub out_channels: u32,
        pub kernel: [u32; 2],
        pub stride: [u32; 2],
        pub padding: [u32; 2],
        pub dilation: [u32; 2],
        pub groups: u32,
        pub accumulate: u32,
        pub silent_bias: [u32; 2],
    }
}

kernel_args! {
    /// The gradient of a bias; see the kernel's file.
    pub struct Conv2dBiasArgs {
        pub dy: u64,
        pub result: u64,
        pub state: u64,
        pub pixels: u32,
        pub out_channels: u32,
        pub accumulate: u32,
        pub unused: u32,
        pub silent_bias: [u32; 2],
    }
}

const TILE: usize = 64;
const BLOCK: [u32; 3] = [256, 1, 1];

pub(super) fn pair(values: [usize; 2]) -> [u32; 2] {
    values.map(|value| value as u32)
}

pub(super) fn silent_bias(conv: &Conv2d) -> [u32; 2] {
    pair([conv.silent_bias.start, conv.silent_bias.end])
}

/// Rows and columns.
pub(super) fn size(map: Map) -> [u32; 2] {
    pair([map.height, map.width])
}

/// Arguments without results.
fn args(conv: &Conv2d, x: Tensor, w: Tensor, y: Tensor, state: u64) -> Conv2dArgs {
    Conv2dArgs {
        x: x.address,
        w: w.address,
        y: y.address,
        bias: 0,
        result: 0,
        state,
        faults: 0,
        in_size: size(x.map()),
        out_size: size(y.map()),
        in_channels: conv.in_channels as u32,
        out_channels: conv.out_channels as u32,
        kernel: pair(conv.kernel),
        stride: pair(conv.stride),
        padding: pair(conv.padding),
        dilation: pair(conv.dilation),
        groups: conv.groups as u32,
        accumulate: 0,
        silent_bias: silent_bias(conv),
    }
}

/// Blocks for a product of `rows` × `columns` a group.
fn grid(conv: &Conv2d, rows: usize, columns: usize) -> [u32; 3] {
    [rows.div_ceil(TILE) as u32, columns.div_ceil(TILE) as u32, conv.groups as u32]
}

pub fn forward(conv: &Conv2d, ctx: &mut Forward<'_>) -> Result<()> {
    if depthwise_cuda::applies(conv) {
        return depthwise_cuda::forward(conv, ctx);
    }
    ctx.require_whole("conv2d_forward_f32")?;
    let args = Conv2dArgs {
        bias: if conv.bias { ctx.params[1].address } else { 0 },
        faults: ctx.faults.map_or(0, |faults| faults.address),
        ..args(conv, ctx.inputs[0], ctx.params[0], ctx.output, ctx.state_address)
    };
    let rows = ctx.output.images * ctx.output_map().pixels();
    let kernel =
        if ctx.faults.is_some() { "conv2d_forward_f32_armed" } else { "conv2d_forward_f32" };
    ctx.launch(kernel, grid(conv, rows, conv.group_outputs()), BLOCK, &args)
}

pub fn backward(conv: &Conv2d, ctx: &mut Backward<'_>) -> Result<()> {
    let depthwise = depthwise_cuda::applies(conv);
    let base = args(conv, ctx.inputs[0], ctx.params[0], ctx.output_gradient, ctx.state_address);
    if let Some(gradient) = ctx.param_gradients[0] {
        if depthwise {
            depthwise_cuda::weight_gradient(conv, ctx, gradient)?;
        } else {
            let args = Conv2dArgs {
                result: gradient.tensor.address,
                accumulate: gradient.accumulate.into(),
                ..base
            };
            let grid = grid(conv, conv.terms(), conv.group_outputs());
            ctx.launch("conv2d_weight_gradient_f32", grid, BLOCK, &args)?;
        }
    }
    if conv.bias
        && let Some(gradient) = ctx.param_gradients[1]
    {
        let args = Conv2dBiasArgs {
            dy: ctx.output_gradient.address,
            result: gradient.tensor.address,
            state: ctx.state_address,
            pixels: ctx.output_map().pixels() as u32,
            out_channels: conv.out_channels as u32,
            accumulate: gradient.accumulate.into(),
            unused: 0,
            silent_bias: silent_bias(conv),
        };
        let grid = [conv.out_channels.div_ceil(64) as u32, 1, 1];
        ctx.launch("conv2d_bias_gradient_f32", grid, [64, 1, 1], &args)?;
    }
    if let Some(gradient) = ctx.input_gradients[0] {
        if depthwise {
            return depthwise_cuda::input_gradient(conv, ctx, gradient);
        }
        let args = Conv2dArgs {
            result: gradient.tensor.address,
            accumulate: gradient.accumulate.into(),
            ..base
        };
        let rows = ctx.output.images * ctx.input_map(0).pixels();
        let grid = grid(conv, rows, conv.group_inputs());
        ctx.launch("conv2d_input_gradient_f32", grid, BLOCK, &args)?;
    }
    Ok(())
}
