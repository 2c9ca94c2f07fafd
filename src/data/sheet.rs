//! Pictures side by side in one.

use super::Image8;
use super::transform::place;

/// Pixels between pictures, and around them.
const GAP: usize = 2;

/// Pictures of one size, row after row of `columns`, on white. Black, 1×1, without any.
pub fn contact_sheet(pictures: &[Image8], columns: usize) -> Image8 {
    let Some(first) = pictures.first() else { return Image8::black(1, 1) };
    let columns = columns.clamp(1, pictures.len());
    let (height, width) = (first.height + GAP, first.width + GAP);
    let rows = pictures.len().div_ceil(columns);
    let mut sheet = Image8::black(rows * height + GAP, columns * width + GAP);
    sheet.pixels.fill(255);
    for (i, picture) in pictures.iter().enumerate() {
        place(picture, &mut sheet, i / columns * height + GAP, i % columns * width + GAP);
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_lie_row_after_row() {
        let dot = |value| Image8 { height: 1, width: 1, pixels: vec![value; 3] };
        let sheet = contact_sheet(&[dot(1), dot(2), dot(3)], 2);
        assert_eq!((sheet.height, sheet.width), (8, 8));
        let at = |row: usize, column: usize| sheet.pixels[(row * 8 + column) * 3];
        assert_eq!([at(2, 2), at(2, 5), at(5, 2), at(5, 5)], [1, 2, 3, 255]);
        assert_eq!(contact_sheet(&[], 3).pixels, [0; 3]);
    }
}
