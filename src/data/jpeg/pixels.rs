//! From quantised coefficients to samples: inverse transform, upsampling of chroma, colour.
//!
//! Each step rounds as libjpeg's default does ("islow", "fancy"), so that pixels are its.

use super::scan::Coefficients;
use std::num::Wrapping;

/// Samples of one component, before upsampling.
pub(super) struct Plane {
    pub width: usize,
    pub height: usize,
    /// Samples from row to row, at least `width`.
    pub stride: usize,
    pub samples: Vec<u8>,
}

impl Plane {
    fn row(&self, y: usize) -> &[u8] {
        &self.samples[y * self.stride..y * self.stride + self.width]
    }
}

/// A factor in 13 fractional bits.
const fn fixed(value: f64) -> Wrapping<i32> {
    Wrapping((value * 8192.0 + 0.5) as i32)
}

/// Eight values of a one-dimensional inverse DCT, times √8·2^13, not rounded yet: the algorithm of
/// Loeffler, Ligtenberg and Moschytz (1989) with twelve multiplications. Hostile coefficients may
/// overflow, and then give some other picture.
fn inverse_dct(x: [Wrapping<i32>; 8]) -> [Wrapping<i32>; 8] {
    let z = (x[2] + x[6]) * const { fixed(0.541_196_100) };
    let even2 = z - x[6] * const { fixed(1.847_759_065) };
    let even3 = z + x[2] * const { fixed(0.765_366_865) };
    let even0 = (x[0] + x[4]) << 13;
    let even1 = (x[0] - x[4]) << 13;
    let sums = [even0 + even3, even1 + even2, even1 - even2, even0 - even3];

    let (z1, z2, z3, z4) = (x[7] + x[1], x[5] + x[3], x[7] + x[3], x[5] + x[1]);
    let z5 = (z3 + z4) * const { fixed(1.175_875_602) };
    let z1 = -z1 * const { fixed(0.899_976_223) };
    let z2 = -z2 * const { fixed(2.562_915_447) };
    let z3 = -z3 * const { fixed(1.961_570_560) } + z5;
    let z4 = -z4 * const { fixed(0.390_180_644) } + z5;
    let odd = [
        x[1] * const { fixed(1.501_321_110) } + z1 + z4,
        x[3] * const { fixed(3.072_711_026) } + z2 + z3,
        x[5] * const { fixed(2.053_119_869) } + z2 + z4,
        x[7] * const { fixed(0.298_631_336) } + z1 + z3,
    ];
    let mut out = [Wrapping(0); 8];
    for i in 0..4 {
        out[i] = sums[i] + odd[i];
        out[7 - i] = sums[i] - odd[i];
    }
    out
}

/// Dequantises and transforms a block into 8 rows of 8 samples, `stride` apart.
pub(super) fn samples(
    block: &Coefficients,
    quantisation: &[u16; 64],
    out: &mut [u8],
    stride: usize,
) {
    let value = |k: usize| Wrapping(i32::from(block[k]) * i32::from(quantisation[k]));
    if block[1..].iter().all(|&coefficient| coefficient == 0) {
        let level = to_sample(value(0), 3);
        for row in out.chunks_mut(stride).take(8) {
            row[..8].fill(level);
        }
        return;
    }
    // Two fractional bits are kept between the passes.
    let mut between = [Wrapping(0); 64];
    for column in 0..8 {
        let transformed = inverse_dct(std::array::from_fn(|row| value(row * 8 + column)));
        for (row, sum) in transformed.into_iter().enumerate() {
            between[row * 8 + column] = (sum + Wrapping(1 << 10)) >> 11;
        }
    }
    for (row, values) in out.chunks_mut(stride).zip(between.chunks_exact(8)) {
        let transformed = inverse_dct(std::array::from_fn(|column| values[column]));
        for (sample, sum) in row.iter_mut().zip(transformed) {
            *sample = to_sample(sum, 18);
        }
    }
}

/// A value with `bits` fractional bits, around 0, rounded to a sample around 128.
fn to_sample(value: Wrapping<i32>, bits: usize) -> u8 {
    let rounded = (value + Wrapping(1 << (bits - 1))) >> bits;
    (rounded + Wrapping(128)).0.clamp(0, 255) as u8
}

/// Row `y` of the image from a plane that has 1/`across` of its columns and 1/`down` of its rows.
/// `out` holds at least `across` × the plane's width.
///
/// Factors of two interpolate: 3/4 of the near sample, 1/4 of the far one, in each direction;
/// halves are rounded up and down by turns. Other factors, and chroma of one or two columns, repeat
/// samples.
pub(super) fn upsample(plane: &Plane, across: usize, down: usize, y: usize, out: &mut [u8]) {
    let near = plane.row(y / down);
    let far = || match y % 2 {
        0 => plane.row((y / 2).saturating_sub(1)),
        _ => plane.row((y / 2 + 1).min(plane.height - 1)),
    };
    let last = plane.width - 1;
    match (across, down) {
        (1, 1) => out[..near.len()].copy_from_slice(near),
        (1, 2) => {
            let bias = if y.is_multiple_of(2) { 1 } else { 2 };
            for ((out, &near), &far) in out.iter_mut().zip(near).zip(far()) {
                *out = ((u32::from(near) * 3 + u32::from(far) + bias) >> 2) as u8;
            }
        }
        (2, 1) if last > 1 => widen(|x| u32::from(near[x]), last, [1, 2], 2, out),
        (2, 2) if last > 1 => {
            let far = far();
            widen(|x| u32::from(near[x]) * 3 + u32::from(far[x]), last, [8, 7], 4, out);
        }
        _ => {
            for (out, &sample) in out.chunks_mut(across).zip(near) {
                out.fill(sample);
            }
        }
    }
}

/// Twice as many columns; `biases` are those of a pair's left and right result.
#[inline(always)]
fn widen(
    column: impl Fn(usize) -> u32,
    last: usize,
    [left, right]: [u32; 2],
    bits: u32,
    out: &mut [u8],
) {
    let mut before = column(0);
    let mut here = before;
    for (x, pair) in out.chunks_exact_mut(2).take(last + 1).enumerate() {
        let after = column((x + 1).min(last));
        pair[0] = ((here * 3 + before + left) >> bits) as u8;
        pair[1] = ((here * 3 + after + right) >> bits) as u8;
        (before, here) = (here, after);
    }
}

/// Red, green and blue of luma and chroma as JFIF defines them, in 16 fractional bits.
pub(super) fn ycc_to_rgb([y, blue, red]: [u8; 3]) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (y, blue, red) = (i32::from(y), i32::from(blue) - 128, i32::from(red) - 128);
    // 1.402, 0.34414, 0.71414, 1.772.
    let r = y + ((91_881 * red + HALF) >> 16);
    let g = y + ((-22_554 * blue - 46_802 * red + HALF) >> 16);
    let b = y + ((116_130 * blue + HALF) >> 16);
    [r, g, b].map(|value| value.clamp(0, 255) as u8)
}

/// Red, green and blue of ink, as PIL converts it.
pub(super) fn cmyk_to_rgb([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 3] {
    let white = 255 - i32::from(black);
    [cyan, magenta, yellow].map(|ink| {
        let product = i32::from(ink) * white + 128;
        (white - (((product >> 8) + product) >> 8)).clamp(0, 255) as u8
    })
}
