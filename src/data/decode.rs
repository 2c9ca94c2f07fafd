//! From file bytes to 8-bit RGB, as PIL's `convert("RGB")` would give it.

use super::{Image8, jpeg};
use crate::{Error, Result};
use image::{DynamicImage, ImageDecoder};
use std::io::Cursor;
use std::path::Path;

/// Reads and decodes a JPEG or PNG file; see [`decode`].
///
/// # Errors
/// [`Error::Io`] if it can't be read, else those of [`decode`].
pub fn decode_file(path: &Path) -> Result<Image8> {
    let bytes = std::fs::read(path).map_err(|source| Error::io(path, source))?;
    decode(&bytes, path)
}

/// Most pixels of an image: from there on PIL refuses it as a decompression bomb. No photograph
/// gets there, and a hostile header can't take all memory.
const MAX_PIXELS: usize = 178_956_970;

/// Decodes the bytes of a JPEG or PNG file; which of the two it is is read off the bytes, not the
/// name. `path` is only what errors call it.
///
/// Grey values are copied to the three channels, alpha is dropped (not blended), palettes are
/// looked up, CMYK is converted, 16-bit values keep their upper bits. EXIF orientation is not
/// applied, as torchvision's image folders don't either.
///
/// # Errors
/// [`Error::File`] for anything that isn't a whole JPEG or PNG of at most 179 million pixels.
pub fn decode(bytes: &[u8], path: &Path) -> Result<Image8> {
    let decoded = match bytes {
        [] => Err("is empty; expected a JPEG or PNG image".into()),
        [0xff, 0xd8, ..] => jpeg::decode(bytes, MAX_PIXELS),
        [0x89, b'P', b'N', b'G', ..] => png(bytes),
        _ => Err("is neither a JPEG nor a PNG image".into()),
    };
    decoded.map_err(|detail| Error::file(path, detail))
}

fn png(bytes: &[u8]) -> std::result::Result<Image8, String> {
    let failed = |source| format!("can't be decoded: {source}");
    let reader = image::ImageReader::with_format(Cursor::new(bytes), image::ImageFormat::Png);
    let decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS as u64 {
        return Err(format!("is refused: a PNG of {width}×{height} pixels"));
    }
    let pixels = DynamicImage::from_decoder(decoder).map_err(failed)?.into_rgb8().into_raw();
    Image8::new(height as usize, width as usize, pixels).map_err(|source| source.to_string())
}
