//! Resizing as Pillow does it: separable, antialiased, in 8-bit fixed point.
//!
//! An output pixel is a weighted sum of the input pixels under a filter that is widened by the
//! reduction factor. Weights are computed in f64, normalised to a sum of 1 and rounded to 22
//! fractional bits; the horizontal pass comes first, and each pass rounds to 8 bits.

use crate::data::Image8;
use crate::recipe::Filter;

/// Fractional bits of a weight: 32 less 8 for the value and 2 for overshoot.
const WEIGHT_BITS: u32 = 22;

fn radius(filter: Filter) -> f64 {
    match filter {
        Filter::Bilinear => 1.0,
        Filter::Bicubic => 2.0,
    }
}

fn weight(filter: Filter, x: f64) -> f64 {
    let x = x.abs();
    match filter {
        Filter::Bilinear => (1.0 - x).max(0.0),
        Filter::Bicubic => {
            const A: f64 = -0.5;
            if x < 1.0 {
                ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
            } else if x < 2.0 {
                (((x - 5.0) * x + 8.0) * x - 4.0) * A
            } else {
                0.0
            }
        }
    }
}

/// The weights of one axis: output position o sums inputs `start[o]..start[o] + taps(o)`.
struct AxisWeights {
    start: Vec<usize>,
    /// Where the weights of each output begin; one more entry than outputs.
    offset: Vec<usize>,
    weights: Vec<i32>,
}

impl AxisWeights {
    fn new(filter: Filter, input: usize, output: usize) -> Self {
        let scale = input as f64 / output as f64;
        let widening = scale.max(1.0);
        let support = radius(filter) * widening;
        let mut axis = AxisWeights { start: Vec::new(), offset: vec![0], weights: Vec::new() };
        let mut exact = Vec::new();
        for o in 0..output {
            let centre = (o as f64 + 0.5) * scale;
            // Rounded to nearest, as casts of sums that are first clamped to 0.
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(input);
            exact.clear();
            exact.extend(
                (first..end).map(|i| weight(filter, (i as f64 - centre + 0.5) * (1.0 / widening))),
            );
            let sum: f64 = exact.iter().sum();
            let one = f64::from(1u32 << WEIGHT_BITS);
            axis.weights.extend(exact.iter().map(|weight| {
                let scaled = if sum == 0.0 { *weight } else { weight / sum } * one;
                (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
            }));
            axis.start.push(first);
            axis.offset.push(axis.weights.len());
        }
        axis
    }

    /// First input and weights of output `o`.
    fn taps(&self, o: usize) -> (usize, &[i32]) {
        (self.start[o], &self.weights[self.offset[o]..self.offset[o + 1]])
    }
}

/// Rounds a fixed-point sum that already holds its half to a byte.
fn to_byte(sum: i32) -> u8 {
    (sum >> WEIGHT_BITS).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (WEIGHT_BITS - 1);

/// Resizes an image to `height` × `width` (both at least 1).
pub fn resize(image: &Image8, height: usize, width: usize, filter: Filter) -> Image8 {
    let narrow = if width == image.width { None } else { Some(rows_resized(image, width, filter)) };
    let source = narrow.as_ref().unwrap_or(image);
    if height == source.height {
        return narrow.unwrap_or_else(|| image.clone());
    }
    let axis = AxisWeights::new(filter, source.height, height);
    let row_values = width * 3;
    let mut out = Image8::black(height, width);
    let mut sums = vec![0i32; row_values];
    for (o, row) in out.pixels.chunks_exact_mut(row_values).enumerate() {
        sums.fill(HALF);
        let (first, weights) = axis.taps(o);
        for (input, &weight) in source.pixels[first * row_values..].chunks(row_values).zip(weights)
        {
            for (sum, &value) in sums.iter_mut().zip(input) {
                *sum += i32::from(value) * weight;
            }
        }
        for (value, &sum) in row.iter_mut().zip(&sums) {
            *value = to_byte(sum);
        }
    }
    out
}

/// The horizontal pass.
fn rows_resized(image: &Image8, width: usize, filter: Filter) -> Image8 {
    let axis = AxisWeights::new(filter, image.width, width);
    let mut out = Image8::black(image.height, width);
    let rows = image.pixels.chunks_exact(image.width * 3);
    for (input, row) in rows.zip(out.pixels.chunks_exact_mut(width * 3)) {
        for (o, pixel) in row.chunks_exact_mut(3).enumerate() {
            let (first, weights) = axis.taps(o);
            let mut sums = [HALF; 3];
            for (value, &weight) in input[first * 3..].chunks_exact(3).zip(weights) {
                for (sum, &channel) in sums.iter_mut().zip(value) {
                    *sum += i32::from(channel) * weight;
                }
            }
            for (channel, sum) in pixel.iter_mut().zip(sums) {
                *channel = to_byte(sum);
            }
        }
    }
    out
}

/// Resizes so that the shorter side becomes `size` and the longer one
/// `size · long / short`, rounded down, as torchvision's `Resize(size)`.
pub fn resize_shorter_side(image: &Image8, size: usize, filter: Filter) -> Image8 {
    let (height, width) = if image.width <= image.height {
        (size * image.height / image.width, size)
    } else {
        (size, size * image.width / image.height)
    };
    resize(image, height, width, filter)
}
