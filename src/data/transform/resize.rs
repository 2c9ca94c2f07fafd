//! Resizing as Pillow does it: separable, antialiased, in 8-bit fixed point.
//!
//! An output pixel is a weighted sum of the input pixels under a filter that is widened by the
//! reduction factor. Weights are computed in f64, normalised to a sum of 1 and rounded to 22
//! fractional bits; the horizontal pass comes first, and each pass rounds to 8 bits.

use crate::cpu::simd::{InstructionSet, compiled};
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
#[inline(always)]
fn to_byte(sum: i32) -> u8 {
    (sum >> WEIGHT_BITS).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (WEIGHT_BITS - 1);

/// Resizes an image to `height` × `width` (both at least 1).
pub fn resize(image: &Image8, height: usize, width: usize, filter: Filter) -> Image8 {
    resize_on(InstructionSet::best(), image, (height, width), filter)
}

/// [`resize`] on an instruction set.
fn resize_on(
    set: InstructionSet,
    image: &Image8,
    (height, width): (usize, usize),
    filter: Filter,
) -> Image8 {
    let narrow = (width != image.width).then(|| {
        let mut out = Image8::black(image.height, width);
        let axis = AxisWeights::new(filter, image.width, width);
        let pass = compiled!(set, AxisWeights::along_rows(of: &AxisWeights, from: &Image8, out: &mut Image8));
        // SAFETY: the machine has the instruction set, of which there is a value.
        unsafe { pass(&axis, image, &mut out) };
        out
    });
    let source = narrow.as_ref().unwrap_or(image);
    if height == source.height {
        return narrow.unwrap_or_else(|| image.clone());
    }
    let mut out = Image8::black(height, width);
    let axis = AxisWeights::new(filter, source.height, height);
    let pass = compiled!(set, AxisWeights::along_columns(of: &AxisWeights, from: &Image8, out: &mut Image8));
    // SAFETY: as before.
    unsafe { pass(&axis, source, &mut out) };
    out
}

/// Values that are summed up together.
const LANES: usize = 16;

/// Rows that the horizontal pass goes along together, four values a pixel.
const ROWS: usize = LANES / 4;

/// Adds the products of values with their weights to a half: of `LANES` values, `step` from one weight's to the next.
#[inline(always)]
fn weighted(values: &[u8], step: usize, weights: &[i32]) -> [u8; LANES] {
    let mut sums = [HALF; LANES];
    let mut at = 0;
    for &weight in weights {
        let Some(values) = values.get(at..at + LANES) else { break };
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum += i32::from(value) * weight;
        }
        at += step;
    }
    let mut bytes = [0; LANES];
    for (byte, &sum) in bytes.iter_mut().zip(&sums) {
        *byte = to_byte(sum);
    }
    bytes
}

impl AxisWeights {
    /// The horizontal pass.
    #[inline(always)]
    fn along_rows(&self, from: &Image8, out: &mut Image8) {
        let (from_values, out_values) = (from.width * 3, out.width * 3);
        // For each column, the pixels of some rows; those beyond the last row are of no use.
        let mut wide = vec![0; from.width * LANES];
        let mut narrow = vec![0; out.width * LANES];
        let rows = from.pixels.chunks(from_values * ROWS);
        for (rows, out) in rows.zip(out.pixels.chunks_mut(out_values * ROWS)) {
            for (place, row) in rows.chunks_exact(from_values).enumerate() {
                // Four bytes at once, of which the last is the next pixel's; so the last pixel comes apart.
                let pixels = row.windows(4).step_by(3);
                for (column, values) in wide.chunks_exact_mut(LANES).zip(pixels) {
                    column[4 * place..4 * place + 4].copy_from_slice(values);
                }
                let last = (from.width - 1) * LANES + 4 * place;
                wide[last..last + 3].copy_from_slice(&row[from_values - 3..]);
            }
            for (o, column) in narrow.chunks_exact_mut(LANES).enumerate() {
                let (first, weights) = self.taps(o);
                column.copy_from_slice(&weighted(&wide[first * LANES..], LANES, weights));
            }
            for (place, row) in out.chunks_exact_mut(out_values).enumerate() {
                for (column, pixel) in narrow.chunks_exact(LANES).zip(row.chunks_exact_mut(3)) {
                    pixel.copy_from_slice(&column[4 * place..4 * place + 3]);
                }
            }
        }
    }

    /// The vertical pass.
    #[inline(always)]
    fn along_columns(&self, from: &Image8, out: &mut Image8) {
        let row_values = from.width * 3;
        for (o, row) in out.pixels.chunks_exact_mut(row_values).enumerate() {
            let (first, weights) = self.taps(o);
            let rows = &from.pixels[first * row_values..(first + weights.len()) * row_values];
            let mut chunks = row.chunks_exact_mut(LANES);
            let mut at = 0;
            for chunk in &mut chunks {
                chunk.copy_from_slice(&weighted(&rows[at..], row_values, weights));
                at += LANES;
            }
            for (value, at) in chunks.into_remainder().iter_mut().zip(at..) {
                let values = rows.iter().skip(at).step_by(row_values).zip(weights);
                let products = values.map(|(&value, &weight)| i32::from(value) * weight);
                *value = to_byte(products.fold(HALF, |sum, product| sum + product));
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Draw, stream};

    #[test]
    fn all_instruction_sets_give_the_same_picture() {
        let mut draws = stream(4, "resize").block(0);
        for (from, to) in
            [((37, 53), (22, 16)), ((1, 1), (3, 5)), ((6, 2), (9, 40)), ((19, 8), (19, 3))]
        {
            let pixels = (0..from.0 * from.1 * 3).map(|_| draws.below(256) as u8).collect();
            let image = Image8::new(from.0, from.1, pixels).unwrap();
            for filter in [Filter::Bilinear, Filter::Bicubic] {
                let expected = resize_on(InstructionSet::Portable, &image, to, filter);
                for set in InstructionSet::available() {
                    assert_eq!(resize_on(set, &image, to, filter), expected, "{}", set.name());
                }
            }
        }
    }
}
