//! Cutting, padding, mirroring, and the random choice of where to cut.

use crate::data::{Image8, portable};
use crate::rng::Draw;

/// A rectangle of pixels inside an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// Gives the area that is wanted of an image, by its height and width.
pub type ChooseArea<'a> = dyn FnMut(usize, usize) -> Area + 'a;

impl Area {
    /// All of an image.
    pub fn whole(height: usize, width: usize) -> Area {
        Area { top: 0, left: 0, height, width }
    }

    /// Whether it has pixels, all of them inside an image.
    pub fn lies_in(&self, height: usize, width: usize) -> bool {
        let within = |start: usize, size: usize, whole: usize| {
            size > 0 && start.checked_add(size).is_some_and(|end| end <= whole)
        };
        within(self.top, self.height, height) && within(self.left, self.width, width)
    }
}

/// The pixels of an area, which must lie inside the image.
pub fn crop(image: &Image8, area: Area) -> Image8 {
    let mut out = Image8::black(area.height, area.width);
    let row_values = area.width * 3;
    for (row, values) in out.pixels.chunks_exact_mut(row_values).enumerate() {
        let start = ((area.top + row) * image.width + area.left) * 3;
        values.copy_from_slice(&image.pixels[start..start + row_values]);
    }
    out
}

/// The image with black rows and columns around it.
pub fn pad(image: &Image8, top: usize, left: usize, bottom: usize, right: usize) -> Image8 {
    let mut out = Image8::black(image.height + top + bottom, image.width + left + right);
    place(image, &mut out, top, left);
    out
}

/// Puts an image into a larger one, its first pixel at (`top`, `left`); it must lie inside.
pub fn place(image: &Image8, into: &mut Image8, top: usize, left: usize) {
    for (row, values) in image.pixels.chunks_exact(image.width * 3).enumerate() {
        let start = ((top + row) * into.width + left) * 3;
        into.pixels[start..start + values.len()].copy_from_slice(values);
    }
}

/// The central `size` × `size` pixels, as torchvision's `CenterCrop`: an odd margin is halved to the
/// even number, and an image that is too small is padded with black first, the larger half of an odd
/// padding at the right and the bottom.
pub fn centre_crop(image: &Image8, size: usize) -> Image8 {
    let padded;
    let source = if image.height < size || image.width < size {
        let (rows, columns) = (size.saturating_sub(image.height), size.saturating_sub(image.width));
        padded = pad(image, rows / 2, columns / 2, rows.div_ceil(2), columns.div_ceil(2));
        &padded
    } else {
        image
    };
    let start = |side: usize| ((side - size) as f64 / 2.0).round_ties_even() as usize;
    let (top, left) = (start(source.height), start(source.width));
    crop(source, Area { top, left, height: size, width: size })
}

/// The image mirrored left to right.
pub fn flip(image: &mut Image8) {
    let width = image.width;
    for row in image.pixels.chunks_exact_mut(width * 3) {
        for left in 0..width / 2 {
            for channel in 0..3 {
                row.swap(left * 3 + channel, (width - 1 - left) * 3 + channel);
            }
        }
    }
}

/// Attempts of [`random_resized_area`] before it falls back.
const ATTEMPTS: usize = 10;

/// The area of Inception-style augmentation (torchvision's `RandomResizedCrop`): a share of the
/// image uniform in `scale` and an aspect ratio (width to height) log-uniform in `ratio`. Each
/// attempt draws the share and the ratio; the first that fits draws its top and its left and is
/// taken. After ten misses: the largest central area whose ratio lies within bounds.
pub fn random_resized_area(
    height: usize,
    width: usize,
    scale: [f64; 2],
    ratio: [f64; 2],
    draws: &mut impl Draw,
) -> Area {
    let (rows, columns) = (height as f64, width as f64);
    let log_ratio = ratio.map(portable::ln);
    for _ in 0..ATTEMPTS {
        let target = rows * columns * draws.between(scale[0], scale[1]);
        let aspect = portable::exp(draws.between(log_ratio[0], log_ratio[1]));
        let w = (target * aspect).sqrt().round_ties_even() as usize;
        let h = (target / aspect).sqrt().round_ties_even() as usize;
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            let top = draws.below((height - h + 1) as u64) as usize;
            let left = draws.below((width - w + 1) as u64) as usize;
            return Area { top, left, height: h, width: w };
        }
    }
    let (mut h, mut w) = (height, width);
    if columns / rows < ratio[0] {
        h = ((columns / ratio[0]).round_ties_even() as usize).clamp(1, height);
    } else if columns / rows > ratio[1] {
        w = ((rows * ratio[1]).round_ties_even() as usize).clamp(1, width);
    }
    Area { top: (height - h) / 2, left: (width - w) / 2, height: h, width: w }
}
