//! Arguments and grids of `kernels/pointwise/product.cu`.

use super::{FactorPlace, Spread};
use crate::Result;
use crate::device::args::{Factor, ProductForwardArgs, ProductGradientArgs};
use crate::ops::{Gradient, KernelBackward, KernelForward, place};
use crate::tensor::{Map, Tensor};

/// Products of a launch.
const TERMS: usize = 4;

/// Blocks that sum: 32 channels × 16 pixels.
const SUM_BLOCK: [u32; 3] = [32, 16, 1];
/// Pixels of a partial sum, about.
const PART: usize = 256;
/// Pixels of a block that sums over channels.
const PIXELS_PER_BLOCK: usize = 16;

impl Factor {
    fn new(values: Tensor, place: FactorPlace) -> Factor {
        let spread = place.spread;
        Factor {
            values: values.address,
            image: place.map.elements() as u32,
            first: place.channel as u32,
            pixel: if spread == Spread::OverPixels { 0 } else { place.map.channels as u32 },
            channel: u32::from(spread != Spread::OverChannels),
        }
    }
}

fn parts(pixels: usize) -> usize {
    pixels.div_ceil(PART)
}

/// Partial sums of the gradient of a factor that is spread over the pixels of `output`.
pub(crate) fn workspace_bytes(output: Map, batch: usize) -> usize {
    8 * batch * parts(output.pixels()) * output.channels
}

/// y = Σ of products, in a chain from the first on.
pub(crate) fn forward(ctx: &KernelForward<'_>, terms: &[[(Tensor, FactorPlace); 2]]) -> Result<()> {
    let map = ctx.output_map();
    for (launch, terms) in terms.chunks(TERMS).enumerate() {
        let mut args = ProductForwardArgs {
            y: ctx.output.address,
            state: ctx.state_address,
            pixels: map.pixels() as u32,
            channels: map.channels as u32,
            terms: terms.len() as u32,
            resume: u32::from(launch > 0),
            a: Default::default(),
            b: Default::default(),
        };
        for (index, [(a, a_place), (b, b_place)]) in terms.iter().enumerate() {
            args.a[index] = Factor::new(*a, *a_place);
            args.b[index] = Factor::new(*b, *b_place);
        }
        // SAFETY: the arguments are views of `ctx`.
        unsafe { ctx.launch("product_forward_f32", place::channel_quads(ctx.output), &args) }?;
    }
    Ok(())
}

/// The gradient of a factor at `place` of `to`, given the other one. Where it is assigned, channels of
/// `to` that aren't the factor's become 0.
pub(crate) fn gradient(
    ctx: &KernelBackward<'_>,
    (other, other_place): (Tensor, FactorPlace),
    (to, place): (Gradient, FactorPlace),
) -> Result<()> {
    let dy = ctx.output_gradient;
    let output = dy.map();
    let args = ProductGradientArgs {
        dy: dy.address,
        partial: ctx.workspace.address,
        state: ctx.state_address,
        pixels: output.pixels() as u32,
        channels: output.channels as u32,
        parts: parts(output.pixels()) as u32,
        all_channels: place.map.channels as u32,
        accumulate: to.accumulate.into(),
        other: Factor::new(other, other_place),
        to: Factor::new(to.tensor, place),
    };
    match place.spread {
        Spread::Nowhere => {
            let grid = place::channel_quads(to.tensor);
            // SAFETY: the arguments are views of `ctx`.
            unsafe { ctx.launch("product_map_gradient_f32", grid, &args) }
        }
        Spread::OverChannels => {
            let pixels = dy.images * output.pixels();
            let grid = [pixels.div_ceil(PIXELS_PER_BLOCK) as u32, 1, 1];
            // SAFETY: as above.
            unsafe { ctx.launch("product_pixel_gradient_f32", (grid, place::BLOCK), &args) }
        }
        Spread::OverPixels => {
            let grid = [args.parts, output.channels.div_ceil(32) as u32, dy.images as u32];
            // SAFETY: as above.
            unsafe { ctx.launch("product_channel_partials_f64", (grid, SUM_BLOCK), &args) }?;
            let grid = [(dy.images * output.channels).div_ceil(256) as u32, 1, 1];
            // SAFETY: as above.
            unsafe { ctx.launch("product_channel_gradient_f32", (grid, place::BLOCK), &args) }
        }
    }
}
