//! Pixels as the bytes of a PNG file.

use super::Image8;
use crate::{Error, Result};

/// A PNG of grey levels, a byte a pixel, row by row.
///
/// # Errors
/// [`Error::Shape`] for a number of pixels that isn't `height` × `width`.
pub fn grey_png(height: usize, width: usize, pixels: &[u8]) -> Result<Vec<u8>> {
    encoded(height, width, png::ColorType::Grayscale, png::Compression::default(), pixels)
}

/// A PNG of an image.
///
/// # Errors
/// [`Error::Shape`] for an image whose pixels aren't as many as its sides say.
pub fn rgb_png(image: &Image8) -> Result<Vec<u8>> {
    let Image8 { height, width, pixels } = image;
    encoded(*height, *width, png::ColorType::Rgb, png::Compression::High, pixels)
}

fn encoded(
    height: usize,
    width: usize,
    colour: png::ColorType,
    compression: png::Compression,
    pixels: &[u8],
) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(colour);
    encoder.set_compression(compression);
    encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(pixels))
        .map_err(|error| Error::shape("a picture", format!("can't be made a PNG: {error}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::decode;
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let image = Image8::new(2, 3, (0..18).collect()).unwrap();
        assert_eq!(decode(&rgb_png(&image).unwrap(), "a.png".as_ref()).unwrap(), image);
        let grey = decode(&grey_png(1, 2, &[9, 200]).unwrap(), "b.png".as_ref()).unwrap();
        assert_eq!(grey.pixels, [9, 9, 9, 200, 200, 200]);
        assert!(grey_png(1, 2, &[9]).is_err());
    }
}
