//! The operations as torchvision does them to tensors, which AugMix hands it even where it is given PIL's
//! images. Most differ from PIL's in the last bits of a blend; those that move pixels sample a grid in f32,
//! and fade out at the border instead of ending there.

use super::affine::{AffineMatrix, filled, radians, through_degrees};
use super::colour::tensor_grey;
use super::framed::{Framed, Lanes};
use super::{
    FillColour, Interpolation, Operation, OperationKind, equalize, invert, posterize, sharpness,
    solarize,
};
use crate::cpu::simd::{InstructionSet, compiled};
use crate::data::{Image8, rounded};

impl Operation {
    /// Does it. `how` and `fill` are read by those that move pixels; a black `fill` is none. There is no cubic
    /// interpolation: it counts as bilinear.
    pub fn apply_as_tensor(self, image: &mut Image8, how: Interpolation, fill: FillColour) {
        let Operation { kind, magnitude } = self;
        let (width, height) = (image.width as f64 * 0.5, image.height as f64 * 0.5);
        match kind {
            OperationKind::Identity => {}
            OperationKind::ShearX => {
                let slope = rounded::tan(through_degrees(magnitude));
                *image = sampled(
                    image,
                    [1.0, slope, width + slope * height - width, 0.0, 1.0, 0.0],
                    how,
                    fill,
                );
            }
            OperationKind::ShearY => {
                let (sine, cosine) = rounded::sin_cos(through_degrees(magnitude));
                let slope = sine / cosine;
                *image = sampled(
                    image,
                    [1.0, 0.0, 0.0, slope, 1.0, slope * width + height - height],
                    how,
                    fill,
                );
            }
            OperationKind::TranslateX => {
                *image = sampled(image, [1.0, 0.0, -magnitude.trunc(), 0.0, 1.0, 0.0], how, fill);
            }
            OperationKind::TranslateY => {
                *image = sampled(image, [1.0, 0.0, 0.0, 0.0, 1.0, -magnitude.trunc()], how, fill);
            }
            OperationKind::Rotate => {
                let (sine, cosine) = rounded::sin_cos(radians(-magnitude));
                *image = sampled(image, [cosine, sine, 0.0, -sine, cosine, 0.0], how, fill);
            }
            OperationKind::Brightness => {
                blend(&mut image.pixels, std::iter::repeat(0.0), 1.0 + magnitude);
            }
            OperationKind::Color => {
                let greys: Vec<f32> = image
                    .pixels
                    .chunks_exact(3)
                    .flat_map(|pixel| [f32::from(tensor_grey(pixel)); 3])
                    .collect();
                blend(&mut image.pixels, greys.into_iter(), 1.0 + magnitude);
            }
            OperationKind::Contrast => {
                let pixels = image.pixels.chunks_exact(3);
                let sum: u64 = pixels.map(|pixel| u64::from(tensor_grey(pixel))).sum();
                let mean = sum as f32 / (image.pixels.len() / 3) as f32;
                blend(&mut image.pixels, std::iter::repeat(mean), 1.0 + magnitude);
            }
            OperationKind::Sharpness if image.width > 2 && image.height > 2 => {
                let mut smooth = image.clone();
                sharpness(&mut smooth, 0.0);
                let second = smooth.pixels.iter().map(|&value| f32::from(value));
                blend(&mut image.pixels, second, 1.0 + magnitude);
            }
            OperationKind::Sharpness => {}
            OperationKind::Posterize => posterize(image, magnitude as u32),
            OperationKind::Solarize => solarize(image, magnitude),
            OperationKind::AutoContrast => autocontrast(image),
            OperationKind::Equalize => equalize(image),
            OperationKind::Invert => invert(image),
        }
    }
}

/// `ratio` of each value and 1 − `ratio` of the second, in f32.
fn blend(values: &mut [u8], second: impl Iterator<Item = f32>, ratio: f64) {
    let (own, other) = (ratio as f32, (1.0 - ratio) as f32);
    for (value, second) in values.iter_mut().zip(second) {
        *value = (own * f32::from(*value) + other * second) as u8;
    }
}

/// Each channel stretched, in f32.
fn autocontrast(image: &mut Image8) {
    let channel = |channel: usize| image.pixels[channel..].iter().step_by(3);
    let curves: [[u8; 256]; 3] = std::array::from_fn(|at| {
        let low = channel(at).min().copied().unwrap_or(0);
        let high = channel(at).max().copied().unwrap_or(0);
        if low == high {
            return std::array::from_fn(|old| old as u8);
        }
        // By a reciprocal, which is rounded, too.
        let scale = 1.0 / f32::from(high - low) * 255.0;
        std::array::from_fn(|old| ((old as f32 - f32::from(low)) * scale) as u8)
    });
    for pixel in image.pixels.chunks_exact_mut(3) {
        for (value, curve) in pixel.iter_mut().zip(&curves) {
            *value = curve[usize::from(*value)];
        }
    }
}

/// The image seen through a matrix about its centre.
fn sampled(image: &Image8, matrix: AffineMatrix, how: Interpolation, fill: FillColour) -> Image8 {
    let mut out = filled(image, fill);
    let mut grid = SampledGrid {
        framed: &Framed::in_nothing(image),
        size: [image.width, image.height],
        matrix,
        fill,
        out: &mut out.pixels,
    };
    let set = InstructionSet::best();
    let sample = match how {
        Interpolation::Nearest => compiled!(set, SampledGrid::nearest(of: &mut SampledGrid<'_>)),
        _ => compiled!(set, SampledGrid::bilinear(of: &mut SampledGrid<'_>)),
    };
    // SAFETY: the machine has the instruction set.
    unsafe { sample(&mut grid) };
    out
}

/// What an image is sampled at, and what becomes of it.
struct SampledGrid<'a> {
    framed: &'a Framed,
    /// Columns and rows.
    size: [usize; 2],
    matrix: AffineMatrix,
    fill: FillColour,
    out: &'a mut [u8],
}

impl SampledGrid<'_> {
    #[inline(always)]
    fn nearest(&mut self) {
        self.sample::<false>();
    }

    #[inline(always)]
    fn bilinear(&mut self) {
        self.sample::<true>();
    }

    /// The value at each place. Coordinates go from −1 to 1 on the way, in f32. Where a product and a sum are fused,
    /// PyTorch's are.
    #[inline(always)]
    fn sample<const BILINEAR: bool>(&mut self) {
        let [width, height] = self.size.map(|side| side as f32);
        let (half_width, half_height) = (width * 0.5, height * 0.5);
        let m = self.matrix.map(|value| value as f32);
        let along_x = [m[0], m[1], m[2]].map(|value| value / half_width);
        let along_y = [m[3], m[4], m[5]].map(|value| value / half_height);
        for (row, pixels) in self.out.chunks_exact_mut(self.size[0] * 3).enumerate() {
            let y = row as f32 + 0.5 - half_height;
            for (column, pixel) in pixels.chunks_exact_mut(3).enumerate() {
                let x = column as f32 + 0.5 - half_width;
                let [x, y] = [place(along_x, x, y, half_width), place(along_y, x, y, half_height)];
                if x > -1.0 && x < width && y > -1.0 && y < height {
                    let value = match BILINEAR {
                        true => bilinear(self.framed, [x, y], self.fill),
                        false => nearest(self.framed, [x, y], self.fill),
                    };
                    pixel.copy_from_slice(&value);
                }
            }
        }
    }
}

/// A coordinate in pixels, from its row of the matrix.
#[inline(always)]
fn place(grid: [f32; 3], x: f32, y: f32, half: f32) -> f32 {
    (x * grid[0] + y * grid[1] + grid[2] + 1.0).mul_add(half, -0.5)
}

/// The nearest whole number, of two the even one: there is no instruction for it that every x86-64 processor has.
#[inline(always)]
fn rounded_even(value: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    if value.abs() < 4_194_304.0 { value + MAGIC - MAGIC } else { value.round_ties_even() }
}

/// A value from 0 to 255, rounded.
#[inline(always)]
fn to_byte(value: f32) -> u8 {
    let value = if value < 255.0 { value } else { 255.0 };
    // 2²³ added leaves the whole number in the last bits, rounded to the even one of two.
    (value + 8_388_608.0).to_bits() as u8
}

/// The largest whole number up to a coordinate.
#[inline(always)]
fn floor(value: f32) -> isize {
    // SAFETY: it lies inside of the image or a pixel before it, and the image in memory.
    let whole = unsafe { value.to_int_unchecked::<isize>() };
    whole - isize::from((whole as f32) > value)
}

#[inline(always)]
fn nearest(image: &Framed, [x, y]: [f32; 2], fill: FillColour) -> FillColour {
    let [[red, green, blue, inside]] =
        image.pixels(rounded_even(y) as isize, rounded_even(x) as isize);
    if inside == 0 { fill } else { [red, green, blue] }
}

/// What lies outside counts as 0; with a fill colour so does its share, and the colour takes it.
#[inline(always)]
fn bilinear(image: &Framed, [x, y]: [f32; 2], fill: FillColour) -> FillColour {
    let (left, top) = (floor(x), floor(y));
    let (east, south) = (x - left as f32, y - top as f32);
    let (west, north) = (1.0 - east, 1.0 - south);
    let [upper_left, upper_right] = image.pixels(top, left);
    let [lower_left, lower_right] = image.pixels(top + 1, left);
    let sum = add(upper_left, west * north, [0.0; 4]);
    let sum = add(upper_right, east * north, sum);
    let sum = add(lower_left, west * south, sum);
    let [red, green, blue, inside] = add(lower_right, east * south, sum);
    if fill == [0; 3] {
        return [to_byte(red), to_byte(green), to_byte(blue)];
    }
    let outside = 1.0 - inside;
    [
        to_byte(red * inside + outside * f32::from(fill[0])),
        to_byte(green * inside + outside * f32::from(fill[1])),
        to_byte(blue * inside + outside * f32::from(fill[2])),
    ]
}

/// A corner's part of a sum.
#[inline(always)]
fn add(corner: Lanes<f32>, weight: f32, mut sum: Lanes<f32>) -> Lanes<f32> {
    for lane in 0..4 {
        sum[lane] = corner[lane].mul_add(weight, sum[lane]);
    }
    sum
}
