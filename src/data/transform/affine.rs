//! Shearing, moving and turning, as PIL's `transform` and `rotate` do it: the matrix leads from a pixel of
//! the result to a place in the image, and what lies outside gets the fill colour.
//!
//! Without interpolation places are counted in 1/65536 pixel, step by step along a row; where a corner lies
//! too far out for that, and for a mere scaling, in f64. With interpolation each place is computed in f64.
//! Operations stand in the order in which PIL has them, so that even ties of rounding fall alike.

use super::framed::{Framed, Lanes};
use crate::cpu::simd::{InstructionSet, compiled};
use crate::data::{Image8, rounded};
use crate::recipe::{FillColour, Interpolation};

/// (x, y) ↦ (m₀x + m₁y + m₂, m₃x + m₄y + m₅), from the result to the image, pixels being squares of side 1.
pub type AffineMatrix = [f64; 6];

/// Columns move by `slope` a row: torchvision's `ShearX` of magnitude `slope`.
pub fn shear_x(image: &Image8, slope: f64, how: Interpolation, fill: FillColour) -> Image8 {
    let shift = rounded::tan(through_degrees(slope));
    affine(image, [1.0, shift, 0.0, 0.0, 1.0, 0.0], how, fill)
}

/// Rows move by `slope` a column: torchvision's `ShearY` of magnitude `slope`.
pub fn shear_y(image: &Image8, slope: f64, how: Interpolation, fill: FillColour) -> Image8 {
    let (sine, cosine) = rounded::sin_cos(through_degrees(slope));
    affine(image, [1.0, 0.0, 0.0, sine / cosine, 1.0, 0.0], how, fill)
}

/// torchvision takes the angle of a slope in degrees, and then in radians: twice rounded.
pub(super) fn through_degrees(slope: f64) -> f64 {
    radians(rounded::atan(slope) * (180.0 / std::f64::consts::PI))
}

pub(super) fn radians(degrees: f64) -> f64 {
    degrees * (std::f64::consts::PI / 180.0)
}

/// Moved to the right by whole pixels, to the left if negative.
pub fn translate_x(image: &Image8, pixels: i64, fill: FillColour) -> Image8 {
    translate(image, [pixels, 0], fill)
}

/// Moved down by whole pixels, up if negative.
pub fn translate_y(image: &Image8, pixels: i64, fill: FillColour) -> Image8 {
    translate(image, [0, pixels], fill)
}

/// Any interpolation of whole pixels gives the pixels.
fn translate(image: &Image8, [right, down]: [i64; 2], fill: FillColour) -> Image8 {
    let mut out = filled(image, fill);
    let span = |side: usize, by: i64| {
        let kept = side.saturating_sub(usize::try_from(by.unsigned_abs()).unwrap_or(usize::MAX));
        if by < 0 { (side - kept, 0, kept) } else { (0, side - kept, kept) }
    };
    let (from_x, to_x, columns) = span(image.width, right);
    let (from_y, to_y, rows) = span(image.height, down);
    for row in 0..rows {
        let from = ((from_y + row) * image.width + from_x) * 3;
        let to = ((to_y + row) * image.width + to_x) * 3;
        out.pixels[to..to + columns * 3].copy_from_slice(&image.pixels[from..from + columns * 3]);
    }
    out
}

/// Turned counter-clockwise about the centre; the size stays.
pub fn rotate(image: &Image8, degrees: f64, how: Interpolation, fill: FillColour) -> Image8 {
    let degrees = modulo_turn(degrees);
    let square = image.width == image.height;
    match degrees {
        0.0 => return image.clone(),
        180.0 => return half_turn(image),
        90.0 | 270.0 if square => return quarter_turn(image, degrees == 90.0),
        _ => {}
    }
    let (sine, cosine) = rounded::sin_cos(-radians(degrees));
    let (sine, cosine) = (to_15_decimals(sine), to_15_decimals(cosine));
    let (x, y) = (image.width as f64 / 2.0, image.height as f64 / 2.0);
    // The zeros are those of a translation by nothing.
    let first = cosine * -x + sine * -y + 0.0 + x;
    let second = -sine * -x + cosine * -y + 0.0 + y;
    affine(image, [cosine, sine, first, -sine, cosine, second], how, fill)
}

/// The angle in 0..360, as Python's `%` has it.
fn modulo_turn(degrees: f64) -> f64 {
    let rest = degrees % 360.0;
    if rest < 0.0 { rest + 360.0 } else { rest }
}

/// The nearest number of 15 decimals, as Python's `round(x, 15)`.
fn to_15_decimals(value: f64) -> f64 {
    format!("{value:.15}").parse().unwrap_or(value)
}

fn half_turn(image: &Image8) -> Image8 {
    let pixels = image.pixels.chunks_exact(3).rev().flatten().copied().collect();
    Image8 { pixels, ..*image }
}

/// Of a square image.
fn quarter_turn(image: &Image8, counter_clockwise: bool) -> Image8 {
    let side = image.width;
    let mut out = Image8::black(side, side);
    for (at, pixel) in out.pixels.chunks_exact_mut(3).enumerate() {
        let (y, x) = (at / side, at % side);
        let (y, x) = if counter_clockwise { (x, side - 1 - y) } else { (side - 1 - x, y) };
        pixel.copy_from_slice(&image.pixels[(y * side + x) * 3..][..3]);
    }
    out
}

pub(super) fn filled(image: &Image8, fill: FillColour) -> Image8 {
    if fill == [0; 3] {
        return Image8::black(image.height, image.width);
    }
    let pixels = fill.iter().copied().cycle().take(image.pixels.len()).collect();
    Image8 { pixels, ..*image }
}

/// The image seen through a matrix, as PIL's `Image.transform(size, AFFINE, matrix, how)`; the size stays.
pub fn affine(
    image: &Image8,
    matrix: AffineMatrix,
    how: Interpolation,
    fill: FillColour,
) -> Image8 {
    match how {
        Interpolation::Nearest if matrix[1] == 0.0 && matrix[3] == 0.0 => {
            scaled(image, matrix, fill)
        }
        Interpolation::Nearest if fits_fixed_point(image, matrix) => fixed(image, matrix, fill),
        Interpolation::Nearest => floating(image, matrix, fill),
        Interpolation::Bilinear | Interpolation::Bicubic => interpolated(image, matrix, how, fill),
    }
}

/// Whether the corners lie within what 32 bits with 16 behind the point hold.
fn fits_fixed_point(image: &Image8, m: AffineMatrix) -> bool {
    let (width, height) = (image.width as f64, image.height as f64);
    [(0.0, 0.0), (width, height), (0.0, height), (width, 0.0)].iter().all(|&(x, y)| {
        (x * m[0] + y * m[1] + m[2]).abs() < 32768.0 && (x * m[3] + y * m[4] + m[5]).abs() < 32768.0
    })
}

/// 65536 to a pixel, rounded.
fn to_fixed(value: f64) -> i64 {
    (value * 65536.0 + 0.5).floor() as i64
}

/// The steps 0 ≤ n < `steps` for which 0 ≤ `start` + n·`step` < `end`.
fn steps_within(start: i64, step: i64, end: i64, steps: usize) -> std::ops::Range<usize> {
    let steps = steps as i64;
    let (first, past) = match step {
        0 if (0..end).contains(&start) => (0, steps),
        0 => (0, 0),
        1.. => (-start.div_euclid(step), (end - 1 - start).div_euclid(step) + 1),
        _ => (-(end - 1 - start).div_euclid(-step), start.div_euclid(-step) + 1),
    };
    let first = first.clamp(0, steps);
    first as usize..past.clamp(first, steps) as usize
}

/// No interpolation, in fixed point.
fn fixed(image: &Image8, m: AffineMatrix, fill: FillColour) -> Image8 {
    let mut out = filled(image, fill);
    let (along_x, along_y) = (to_fixed(m[0]), to_fixed(m[3]));
    let (down_x, down_y) = (to_fixed(m[1]), to_fixed(m[4]));
    let mut row_x = to_fixed(m[2] + m[0] * 0.5 + m[1] * 0.5);
    let mut row_y = to_fixed(m[5] + m[3] * 0.5 + m[4] * 0.5);
    let (width, height) = (image.width, image.height);
    for row in out.pixels.chunks_exact_mut(width * 3) {
        let across = steps_within(row_x, along_x, (width as i64) << 16, width);
        let down = steps_within(row_y, along_y, (height as i64) << 16, width);
        let inside = across.start.max(down.start)..across.end.min(down.end);
        if !inside.is_empty() {
            let mut x = row_x + along_x * inside.start as i64;
            let mut y = row_y + along_y * inside.start as i64;
            for pixel in row[inside.start * 3..inside.end * 3].chunks_exact_mut(3) {
                let from = ((y >> 16) as usize * width + (x >> 16) as usize) * 3;
                pixel.copy_from_slice(&image.pixels[from..from + 3]);
                x += along_x;
                y += along_y;
            }
        }
        row_x += down_x;
        row_y += down_y;
    }
    out
}

/// The pixel that holds a coordinate, if there is one.
fn pixel_at(coordinate: f64, side: usize) -> Option<usize> {
    (coordinate >= 0.0 && coordinate < side as f64).then_some(coordinate as usize)
}

/// No interpolation, x and y apart.
fn scaled(image: &Image8, m: AffineMatrix, fill: FillColour) -> Image8 {
    let mut out = filled(image, fill);
    let width = image.width;
    let mut x = m[2] + m[0] * 0.5;
    let mut y = m[5] + m[4] * 0.5;
    let columns: Vec<Option<usize>> = (0..width)
        .map(|_| {
            let column = pixel_at(x, width);
            x += m[0];
            column
        })
        .collect();
    for row in out.pixels.chunks_exact_mut(width * 3) {
        if let Some(from) = pixel_at(y, image.height) {
            let line = &image.pixels[from * width * 3..][..width * 3];
            for (pixel, column) in row.chunks_exact_mut(3).zip(&columns) {
                if let Some(column) = column {
                    pixel.copy_from_slice(&line[column * 3..][..3]);
                }
            }
        }
        y += m[4];
    }
    out
}

/// No interpolation, in f64.
fn floating(image: &Image8, m: AffineMatrix, fill: FillColour) -> Image8 {
    let mut out = filled(image, fill);
    let width = image.width;
    let mut row_x = m[2] + m[0] * 0.5 + m[1] * 0.5;
    let mut row_y = m[5] + m[3] * 0.5 + m[4] * 0.5;
    for row in out.pixels.chunks_exact_mut(width * 3) {
        let (mut x, mut y) = (row_x, row_y);
        for pixel in row.chunks_exact_mut(3) {
            if let (Some(column), Some(line)) = (pixel_at(x, width), pixel_at(y, image.height)) {
                pixel.copy_from_slice(&image.pixels[(line * width + column) * 3..][..3]);
            }
            x += m[0];
            y += m[3];
        }
        row_x += m[1];
        row_y += m[4];
    }
    out
}

fn interpolated(
    image: &Image8,
    matrix: AffineMatrix,
    how: Interpolation,
    fill: FillColour,
) -> Image8 {
    let mut out = filled(image, fill);
    let mut places = Resampled {
        framed: &Framed::in_its_border(image),
        size: [image.width, image.height],
        matrix,
        out: &mut out.pixels,
    };
    let set = InstructionSet::best();
    let fill_in = match how {
        Interpolation::Bicubic => compiled!(set, Resampled::bicubic(of: &mut Resampled<'_>)),
        _ => compiled!(set, Resampled::bilinear(of: &mut Resampled<'_>)),
    };
    // SAFETY: the machine has the instruction set.
    unsafe { fill_in(&mut places) };
    out
}

/// What an image is seen through, and what becomes of it.
struct Resampled<'a> {
    framed: &'a Framed,
    /// Columns and rows.
    size: [usize; 2],
    matrix: AffineMatrix,
    out: &'a mut [u8],
}

impl Resampled<'_> {
    #[inline(always)]
    fn bilinear(&mut self) {
        self.fill_in::<false>();
    }

    #[inline(always)]
    fn bicubic(&mut self) {
        self.fill_in::<true>();
    }

    /// Each place in f64. The compiler makes no function for an instruction set of what is given as an argument.
    #[inline(always)]
    fn fill_in<const CUBIC: bool>(&mut self) {
        let m = self.matrix;
        let [width, height] = self.size.map(|side| side as f64);
        for (y, row) in self.out.chunks_exact_mut(self.size[0] * 3).enumerate() {
            let y = y as f64 + 0.5;
            let (down_x, down_y) = (m[1] * y, m[4] * y);
            for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
                let x = x as f64 + 0.5;
                let (x, y) = (m[0] * x + down_x + m[2], m[3] * x + down_y + m[5]);
                if x >= 0.0 && x < width && y >= 0.0 && y < height {
                    let [red, green, blue, _] = match CUBIC {
                        true => bicubic(self.framed, x, y),
                        false => bilinear(self.framed, x, y),
                    };
                    pixel.copy_from_slice(&[to_byte(red), to_byte(green), to_byte(blue)]);
                }
            }
        }
    }
}

/// Cut off, not rounded.
#[inline(always)]
fn to_byte(value: f64) -> u8 {
    let value = if value > 0.0 { value } else { 0.0 };
    let value = if value < 255.0 { value } else { 255.0 };
    // SAFETY: it lies in 0 to 255, NaN having become 0. A checked cast takes several times as long.
    unsafe { value.to_int_unchecked::<i32>() as u8 }
}

/// The cell of a coordinate between centres of pixels, from −1, and the share of the way through it.
#[inline(always)]
fn cell(coordinate: f64) -> (isize, f64) {
    let shifted = coordinate - 0.5;
    // Truncation, one less below 0, is quicker than a call of floor.
    // SAFETY: it lies inside of the image or half a pixel before it.
    let whole = unsafe { shifted.to_int_unchecked::<isize>() };
    let whole = whole - isize::from(shifted < 0.0);
    (whole, shifted - whole as f64)
}

#[inline(always)]
fn bilinear(image: &Framed, x: f64, y: f64) -> Lanes<f64> {
    let (column, across) = cell(x);
    let (row, down) = cell(y);
    let between = |from: Lanes<f64>, to: Lanes<f64>, share: f64| -> Lanes<f64> {
        std::array::from_fn(|i| from[i] + (to[i] - from[i]) * share)
    };
    let line = |row: isize| {
        let [left, right] = image.pixels(row, column);
        between(left, right, across)
    };
    between(line(row), line(row + 1), down)
}

/// The cubic through `b` and `c` with the slopes (c − a) and (d − b).
#[inline(always)]
fn cubic([a, b, c, d]: [Lanes<f64>; 4], share: f64) -> Lanes<f64> {
    std::array::from_fn(|i| {
        let slope = -a[i] + c[i];
        let bend = 2.0 * (a[i] - b[i]) + c[i] - d[i];
        let third = -a[i] + b[i] - c[i] + d[i];
        b[i] + share * (slope + share * (bend + share * third))
    })
}

#[inline(always)]
fn bicubic(image: &Framed, x: f64, y: f64) -> Lanes<f64> {
    let (column, across) = cell(x);
    let (row, down) = cell(y);
    let line = |step: isize| cubic(image.pixels(row + step, column - 1), across);
    cubic([line(-1), line(0), line(1), line(2)], down)
}
