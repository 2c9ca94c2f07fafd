//! L2 normalisation on the CPU.

use crate::Result;
use crate::ops::{HostBackward, HostForward};

/// √Σ x², one chain of fused multiply-adds.
fn norm(x: &[f32]) -> f32 {
    x.iter().fold(0f32, |sum, x| x.mul_add(*x, sum)).sqrt()
}

pub fn forward(ctx: &mut HostForward<'_>) -> Result<()> {
    let (x, map, region) = (ctx.input(0), ctx.output_map(), ctx.region);
    let y = ctx.output();
    region.for_each_run(map, |offset| {
        let pixel = offset - region.channels.start;
        let norm = norm(&x[pixel..pixel + map.channels]);
        let run = offset..offset + region.channels.len();
        for (y, x) in y[run.clone()].iter_mut().zip(&x[run]) {
            *y = x / norm;
        }
    });
    Ok(())
}

/// dx = (dy − y · Σ y·dy) / ‖x‖.
pub fn backward(ctx: &mut HostBackward<'_>) -> Result<()> {
    let Some((dx, accumulate)) = ctx.input_gradient(0) else { return Ok(()) };
    let channels = ctx.output_map().channels;
    let pixels = ctx.images() * ctx.output_map().pixels();
    let (x, y, dy) = (ctx.input(0), ctx.output(), ctx.output_gradient());
    for pixel in 0..pixels {
        let range = pixel * channels..(pixel + 1) * channels;
        let (x, y, dy) = (&x[range.clone()], &y[range.clone()], &dy[range.clone()]);
        let norm = norm(x);
        let dot = y.iter().zip(dy).fold(0f32, |sum, (y, dy)| y.mul_add(*dy, sum));
        for ((dx, y), dy) in dx[range].iter_mut().zip(y).zip(dy) {
            let value = (-y).mul_add(dot, *dy) / norm;
            *dx = if accumulate { *dx + value } else { value };
        }
    }
    Ok(())
}
