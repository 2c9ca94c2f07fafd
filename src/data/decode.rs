//! From file bytes to 8-bit RGB, as PIL's `convert("RGB")` would give it.

use super::Image8;
use crate::{Error, Result};
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

/// Decodes the bytes of a JPEG or PNG file; which of the two it is is read off the bytes, not the
/// name. `path` is only what errors call it.
///
/// Grey values are copied to the three channels, alpha is dropped (not blended), palettes are
/// looked up, CMYK is converted, 16-bit values keep their upper bits. EXIF orientation is not
/// applied, as torchvision's image folders don't either.
///
/// # Errors
/// [`Error::File`] for anything that isn't a whole JPEG or PNG.
pub fn decode(bytes: &[u8], path: &Path) -> Result<Image8> {
    let format = match bytes {
        [] => return Err(Error::file(path, "is empty; expected a JPEG or PNG image")),
        [0xff, 0xd8, ..] => image::ImageFormat::Jpeg,
        [0x89, b'P', b'N', b'G', ..] => image::ImageFormat::Png,
        _ => return Err(Error::file(path, "is neither a JPEG nor a PNG image")),
    };
    if format == image::ImageFormat::Jpeg && !has_jpeg_end(bytes) {
        return Err(Error::file(path, "is a truncated JPEG: its end-of-image marker is missing"));
    }
    let mut reader = image::ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits());
    let decoded = reader
        .decode()
        .map_err(|source| Error::file(path, format!("can't be decoded: {source}")))?
        .into_rgb8();
    let (width, height) = decoded.dimensions();
    Image8::new(height as usize, width as usize, decoded.into_raw())
        .map_err(|source| Error::file(path, source.to_string()))
}

/// Bounds that no photograph reaches and that keep a hostile header from taking all memory.
fn limits() -> image::Limits {
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(1 << 15);
    limits.max_image_height = Some(1 << 15);
    limits.max_alloc = Some(1 << 30);
    limits
}

/// Whether an end-of-image marker follows the last scan. The decoder fills what is missing with
/// grey and says nothing. Markers can't occur inside entropy-coded data (a 0xff there is followed
/// by 0), and a thumbnail's own end comes before the scan.
fn has_jpeg_end(bytes: &[u8]) -> bool {
    let last_scan = bytes.windows(2).rposition(|pair| pair == [0xff, 0xda]);
    last_scan.is_some_and(|at| bytes[at..].windows(2).any(|pair| pair == [0xff, 0xd9]))
}
