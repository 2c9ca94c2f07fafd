//! From samples to pixels: upsampling of chroma, colour.
//!
//! Each step rounds as libjpeg's default does ("fancy"), so that pixels are its.

use super::ColourSpace;
use crate::cpu::simd::{InstructionSet, compiled};
use crate::data::transform::Area;
use std::ops::Range;

/// Samples of one component, before upsampling: those that some pixels need.
pub(super) struct Plane {
    /// Samples that the component has.
    pub width: usize,
    pub height: usize,
    /// The first column and row that are here.
    pub left: usize,
    pub top: usize,
    /// Samples from row to row.
    pub stride: usize,
    pub samples: Vec<u8>,
    /// Columns and rows of the image for one of this component.
    pub across: usize,
    pub down: usize,
}

impl Plane {
    /// Samples of row `y`, from the first column that is here.
    #[inline(always)]
    fn row(&self, y: usize) -> &[u8] {
        let start = (y - self.top) * self.stride;
        &self.samples[start..start + self.stride]
    }
}

/// The samples of a row or column of `count` that pixels `pixels` need, where a sample makes `factor` pixels:
/// their own, and the neighbours that upsampling looks at.
pub(super) fn needed(pixels: Range<usize>, factor: usize, count: usize) -> Range<usize> {
    let (first, last) = (pixels.start / factor, (pixels.end - 1) / factor);
    if factor == 2 { first.saturating_sub(1)..(last + 2).min(count) } else { first..last + 1 }
}

/// What pixels of an area are made of.
pub(super) struct Picture<'a> {
    pub planes: &'a [Plane],
    pub colour: ColourSpace,
    pub area: Area,
}

impl Picture<'_> {
    /// Red, green and blue of the area.
    pub(super) fn pixels(&self) -> Vec<u8> {
        self.pixels_on(InstructionSet::best())
    }

    /// [`pixels`](Self::pixels) on an instruction set.
    fn pixels_on(&self, set: InstructionSet) -> Vec<u8> {
        let mut out = vec![0; self.area.height * self.area.width * 3];
        let rows = compiled!(set, Picture::rows(of: &Picture<'_>, out: &mut [u8]));
        // SAFETY: the machine has the instruction set, of which there is a value.
        unsafe { rows(self, &mut out) };
        out
    }

    #[inline(always)]
    fn rows(&self, out: &mut [u8]) {
        let Area { top, left, width, .. } = self.area;
        let columns = left..left + width;
        // Up to one pixel more at either side, and another for every plane whose samples are wide.
        let mut buffers: [Vec<u8>; 4] = Default::default();
        for (plane, buffer) in self.planes.iter().zip(&mut buffers) {
            *buffer = vec![0; width + 2 * plane.across];
        }
        let mut sums = vec![0; width + 4];
        for (y, pixels) in out.chunks_exact_mut(width * 3).enumerate() {
            let mut rows: [&[u8]; 4] = [&[]; 4];
            let buffers = buffers.iter_mut().map(Vec::as_mut_slice);
            for ((plane, buffer), row) in self.planes.iter().zip(buffers).zip(&mut rows) {
                *row = upsampled(plane, top + y, columns.clone(), &mut sums, buffer);
            }
            match (self.planes.len(), self.colour) {
                (1, _) => grey(rows[0], pixels),
                (3, ColourSpace::Rgb) => rgb(rows, pixels),
                (3, _) => ycc(rows, pixels),
                (_, colour) => cmyk(rows, colour == ColourSpace::Ycck, pixels),
            }
        }
    }
}

/// Columns `columns` of row `y` of the image, from a plane or made in `out`.
///
/// Factors of two interpolate: 3/4 of the near sample, 1/4 of the far one, in each direction;
/// halves are rounded up and down by turns. Other factors, and chroma of one or two columns, repeat
/// samples.
#[inline(always)]
fn upsampled<'a>(
    plane: &'a Plane,
    y: usize,
    columns: Range<usize>,
    sums: &mut [u16],
    out: &'a mut [u8],
) -> &'a [u8] {
    let Plane { across, down, left, .. } = *plane;
    let near = plane.row(y / down);
    let far_row = match y % 2 {
        0 => (y / 2).saturating_sub(1),
        _ => (y / 2 + 1).min(plane.height - 1),
    };
    let count = columns.len();
    let start = columns.start - left * across;
    match (across, down) {
        (1, 1) => return &near[start..start + count],
        (1, 2) => {
            let bias = if y.is_multiple_of(2) { 1 } else { 2 };
            let far = &plane.row(far_row)[start..start + count];
            for ((out, &near), &far) in out.iter_mut().zip(&near[start..start + count]).zip(far) {
                *out = ((u16::from(near) * 3 + u16::from(far) + bias) >> 2) as u8;
            }
            return &out[..count];
        }
        (2, 1 | 2) if plane.width > 2 => {
            let samples = columns.start / 2..(columns.end - 1) / 2 + 1;
            let there = needed(columns.clone(), 2, plane.width);
            let here = there.start - left..there.end - left;
            // One sum before the first pair and one behind the last; at the image's edge the same again.
            let missing = usize::from(samples.start == 0);
            let (pairs, sums) = (samples.len(), &mut sums[..samples.len() + 2]);
            let inner = &mut sums[missing..missing + there.len()];
            if down == 1 {
                for (sum, &near) in inner.iter_mut().zip(&near[here]) {
                    *sum = near.into();
                }
            } else {
                let far = &plane.row(far_row)[here.clone()];
                for ((sum, &near), &far) in inner.iter_mut().zip(&near[here]).zip(far) {
                    *sum = u16::from(near) * 3 + u16::from(far);
                }
            }
            if missing == 1 {
                sums[0] = sums[1];
            }
            if there.end == samples.end {
                sums[pairs + 1] = sums[pairs];
            }
            if down == 1 {
                widen::<1, 2, 2>(sums, &mut out[..2 * pairs]);
            } else {
                widen::<8, 7, 4>(sums, &mut out[..2 * pairs]);
            }
        }
        _ => {
            let samples = &near[start / across..(start + count).div_ceil(across)];
            for (out, &sample) in out.chunks_mut(across).zip(samples) {
                out.fill(sample);
            }
        }
    }
    let skipped = columns.start % across;
    &out[skipped..skipped + count]
}

/// Twice as many columns: `LEFT` and `RIGHT` round a pair's left and right result.
#[inline(always)]
fn widen<const LEFT: u16, const RIGHT: u16, const BITS: u32>(sums: &[u16], out: &mut [u8]) {
    let pairs = out.len() / 2;
    let (before, here, after) = (&sums[..pairs], &sums[1..=pairs], &sums[2..pairs + 2]);
    for (((pair, before), here), after) in out.chunks_exact_mut(2).zip(before).zip(here).zip(after)
    {
        pair[0] = ((here * 3 + before + LEFT) >> BITS) as u8;
        pair[1] = ((here * 3 + after + RIGHT) >> BITS) as u8;
    }
}

#[inline(always)]
fn grey(row: &[u8], pixels: &mut [u8]) {
    for (pixel, &grey) in pixels.chunks_exact_mut(3).zip(row) {
        pixel.fill(grey);
    }
}

#[inline(always)]
fn rgb([a, b, c, _]: [&[u8]; 4], pixels: &mut [u8]) {
    for (((pixel, &a), &b), &c) in pixels.chunks_exact_mut(3).zip(a).zip(b).zip(c) {
        pixel.copy_from_slice(&[a, b, c]);
    }
}

#[inline(always)]
fn ycc([a, b, c, _]: [&[u8]; 4], pixels: &mut [u8]) {
    for (((pixel, &a), &b), &c) in pixels.chunks_exact_mut(3).zip(a).zip(b).zip(c) {
        pixel.copy_from_slice(&ycc_to_rgb([a, b, c]));
    }
}

#[inline(always)]
fn cmyk(rows: [&[u8]; 4], is_ycck: bool, pixels: &mut [u8]) {
    for (x, pixel) in pixels.chunks_exact_mut(3).enumerate() {
        let [a, b, c, k] = rows.map(|row| row[x]);
        // Files hold inverted ink; YCCK holds it inverted once more.
        let [c, m, y] = if is_ycck { ycc_to_rgb([a, b, c]) } else { [255 - a, 255 - b, 255 - c] };
        pixel.copy_from_slice(&cmyk_to_rgb([c, m, y, 255 - k]));
    }
}

/// Red, green and blue of luma and chroma as JFIF defines them, in 16 fractional bits.
#[inline(always)]
fn ycc_to_rgb([y, blue, red]: [u8; 3]) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (y, blue, red) = (i32::from(y), i32::from(blue) - 128, i32::from(red) - 128);
    // 1.402, 0.34414, 0.71414, 1.772.
    let r = y + ((91_881 * red + HALF) >> 16);
    let g = y + ((-22_554 * blue - 46_802 * red + HALF) >> 16);
    let b = y + ((116_130 * blue + HALF) >> 16);
    [r, g, b].map(|value| value.clamp(0, 255) as u8)
}

/// Red, green and blue of ink, as PIL converts it.
#[inline(always)]
fn cmyk_to_rgb([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 3] {
    let white = 255 - i32::from(black);
    [cyan, magenta, yellow].map(|ink| {
        let product = i32::from(ink) * white + 128;
        (white - (((product >> 8) + product) >> 8)).clamp(0, 255) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Draw, stream};

    #[test]
    fn all_instruction_sets_give_the_same_pixels() {
        let mut draws = stream(4, "planes").block(0);
        for (i, colour) in
            [ColourSpace::Grey, ColourSpace::Rgb, ColourSpace::Ycc, ColourSpace::Ycck]
                .into_iter()
                .enumerate()
        {
            for (across, down) in [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1)] {
                let mut plane = |across: usize, down: usize| Plane {
                    width: 80usize.div_ceil(across),
                    height: 24usize.div_ceil(down),
                    left: 0,
                    top: 0,
                    stride: 80,
                    samples: (0..80 * 24).map(|_| draws.below(256) as u8).collect(),
                    across,
                    down,
                };
                let factors = [(1, 1), (across, down), (across, down), (1, 1)];
                let count = [1, 3, 3, 4][i];
                let planes: Vec<Plane> =
                    factors[..count].iter().map(|&(across, down)| plane(across, down)).collect();
                let area = Area { top: 3, left: 5, height: 20, width: 71 };
                let picture = Picture { planes: &planes, colour, area };
                let expected = picture.pixels_on(InstructionSet::Portable);
                for set in InstructionSet::available() {
                    assert_eq!(picture.pixels_on(set), expected, "{}, {i}", set.name());
                }
            }
        }
    }
}
