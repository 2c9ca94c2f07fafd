//! Sharpness, as PIL's `ImageEnhance` changes it: away from a smoothed image.

use super::blend::blend;
use crate::data::Image8;

/// Away from the smoothed image: 0 is smooth, 1 the image, 2 sharper (torchvision's `adjust_sharpness`).
/// Smooth is the mean of the pixel, counted five times, and its eight neighbours, rounded; at the border
/// pixels stay, and an image below 3 × 3 does altogether.
pub fn sharpness(image: &mut Image8, factor: f64) {
    let (height, width) = (image.height, image.width);
    if height < 3 || width < 3 {
        return;
    }
    let row_values = width * 3;
    let mut above = image.pixels[..row_values].to_vec();
    let mut row = above.clone();
    for y in 1..height - 1 {
        let (first, second) = image.pixels.split_at_mut((y + 1) * row_values);
        let out = &mut first[y * row_values..];
        row.copy_from_slice(out);
        sharpen_row(&above, &row, &second[..row_values], factor as f32, out);
        std::mem::swap(&mut above, &mut row);
    }
}

/// One row from the old values of three; the first and the last pixel of `out` stay.
fn sharpen_row(above: &[u8], row: &[u8], below: &[u8], factor: f32, out: &mut [u8]) {
    let inside = row.len() - 6;
    let [above, row, below] = [above, row, below]
        .map(|values| [&values[..inside], &values[3..3 + inside], &values[6..6 + inside]]);
    for (at, out) in out[3..3 + inside].iter_mut().enumerate() {
        let triple = |of: [&[u8]; 3]| of.map(|values| u16::from(values[at])).iter().sum::<u16>();
        let sum = triple(above) + triple(row) + triple(below) + 4 * u16::from(row[1][at]);
        *out = blend(thirteenth(sum), row[1][at], factor);
    }
}

/// sum / 13, rounded, for sums up to 13 · 255. There are no ties, 13 being odd.
fn thirteenth(sum: u16) -> u8 {
    ((u32::from(sum + 6) * 5042) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_by_multiplication_is_right_everywhere() {
        for sum in 0..=13 * 255u16 {
            assert_eq!(u16::from(thirteenth(sum)), (sum + 6) / 13, "{sum}");
        }
    }
}
