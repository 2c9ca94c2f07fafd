//! Pixels as the bytes of a PNG file.

use super::Image8;
use crate::{Error, Result};

/// A PNG of an image.
///
/// # Errors
/// [`Error::Shape`] for an image whose pixels aren't as many as its sides say.
pub fn rgb_png(image: &Image8) -> Result<Vec<u8>> {
    let Image8 { height, width, pixels } = image;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, *width as u32, *height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::High);
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
        let short = Image8 { pixels: vec![0; 17], ..image };
        assert!(rgb_png(&short).is_err());
    }
}
