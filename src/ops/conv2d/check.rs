//! Arguments and grids of `kernels/conv2d/conv2d_check.cu`: the slow kernels that the others are held against.

use super::Conv2d;
use crate::device::args::Conv2dCheckArgs;
use crate::device::{Buffer, Device};
use crate::tensor::Map;
use crate::{Error, Result};

const THREADS: usize = 256;

/// A convolution of `images` maps of `input`, and what goes into its passes: values as PyTorch orders
/// them for weights (O, C/groups, R, S) and biases, channels last for maps.
#[derive(Clone, Copy, Debug)]
pub struct Check<'a> {
    pub conv: &'a Conv2d,
    pub input: Map,
    pub images: usize,
    pub x: &'a [f32],
    pub weight: &'a [f32],
    pub bias: Option<&'a [f32]>,
    /// The gradient of the output.
    pub gradient: &'a [f32],
}

impl Check<'_> {
    /// The output, to the bits of the exact kernels.
    ///
    /// # Errors
    /// [`Error::Shape`] where the values don't fit the convolution; what a launch may say.
    pub fn output(&self, device: &Device) -> Result<Vec<f32>> {
        self.run(device, "conv2d_check_forward_f32", self.output_elements()?)
    }

    /// The same in f64.
    pub fn output_f64(&self, device: &Device) -> Result<Vec<f64>> {
        self.run(device, "conv2d_check_forward_f64", self.output_elements()?)
    }

    /// The input's gradient, to the bits of the exact kernels.
    pub fn input_gradient(&self, device: &Device) -> Result<Vec<f32>> {
        self.run(device, "conv2d_check_input_gradient_f32", self.images * self.input.elements())
    }

    /// The same in f64.
    pub fn input_gradient_f64(&self, device: &Device) -> Result<Vec<f64>> {
        self.run(device, "conv2d_check_input_gradient_f64", self.images * self.input.elements())
    }

    /// The weight's gradient in f64, (O, C/groups, R, S).
    pub fn weight_gradient_f64(&self, device: &Device) -> Result<Vec<f64>> {
        let elements = self.conv.terms() * self.conv.out_channels;
        self.run(device, "conv2d_check_weight_gradient_f64", elements)
    }

    fn output_elements(&self) -> Result<usize> {
        Ok(self.images * self.conv.output_map(self.input)?.elements())
    }

    fn run<T: bytemuck::Pod>(
        &self,
        device: &Device,
        kernel: &'static str,
        results: usize,
    ) -> Result<Vec<T>> {
        let conv = self.conv;
        let output = conv.output_map(self.input)?;
        let weights = conv.terms() * conv.out_channels;
        for (what, found, expected) in [
            ("x", self.x.len(), self.images * self.input.elements()),
            ("weight", self.weight.len(), weights),
            ("bias", self.bias.map_or(conv.out_channels, <[f32]>::len), conv.out_channels),
            ("gradient", self.gradient.len(), self.images * output.elements()),
        ] {
            if found != expected {
                let detail = format!("{what} has {found} values, not {expected}");
                return Err(Error::shape("conv2d check", detail));
            }
        }
        let upload = |values: &[f32]| -> Result<Buffer> {
            let mut buffer = device.alloc(size_of_val(values))?;
            buffer.write(0, bytemuck::cast_slice(values))?;
            Ok(buffer)
        };
        let (x, w, y) = (upload(self.x)?, upload(self.weight)?, upload(self.gradient)?);
        let bias = self.bias.map(upload).transpose()?;
        let result = device.alloc(results * size_of::<T>())?;
        let pair = |values: [usize; 2]| values.map(|value| value as u32);
        let args = Conv2dCheckArgs {
            x: x.address(),
            w: w.address(),
            y: y.address(),
            bias: bias.as_ref().map_or(0, Buffer::address),
            result: result.address(),
            images: self.images as u32,
            in_size: pair([self.input.height, self.input.width]),
            out_size: pair([output.height, output.width]),
            in_channels: conv.in_channels as u32,
            out_channels: conv.out_channels as u32,
            kernel: pair(conv.kernel),
            stride: pair(conv.stride),
            padding: pair(conv.padding),
            dilation: pair(conv.dilation),
            groups: conv.groups as u32,
        };
        let grid = [results.div_ceil(THREADS) as u32, 1, 1];
        // SAFETY: buffers of this function's own, of the sizes that were just checked.
        unsafe { device.launch(kernel, (grid, [THREADS as u32, 1, 1]), &args) }?;
        let mut values = vec![T::zeroed(); results];
        result.read(0, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }
}
