//! From file bytes to 8-bit RGB, as PIL's `convert("RGB")` would give it.

use super::image_format::{ImageFormat, MAX_PIXELS};
use super::transform::{Area, ChooseArea};
use super::{Image8, bmp, gif, jpeg, outside, part_of, png, webp};
use crate::{Error, Result};
use std::borrow::Cow;
use std::path::Path;

/// Reads and decodes an image file; see [`decode`].
///
/// # Errors
/// [`Error::Io`] if it can't be read, else those of [`decode`].
pub fn decode_file(path: &Path) -> Result<Image8> {
    decode(&read(path)?, path)
}

/// As [`decode_file`], of the part of the image that `choose` gives; see [`decode_part`].
///
/// # Errors
/// Those of [`decode_file`] and of [`decode_part`].
pub fn decode_file_part(path: &Path, choose: &mut ChooseArea<'_>) -> Result<Image8> {
    decode_part(&read(path)?, path, choose)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = |source| Error::io(path, source);
    // A device may have no end.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Error::file(path, "is no regular file"));
    }
    std::fs::read(path).map_err(failed)
}

/// Decodes the bytes of a JPEG, PNG, WebP, BMP or GIF file; which of them it is is read off the bytes, not
/// the name. `path` is only what errors call it.
///
/// Grey values are copied to the three channels, alpha is dropped (not blended), palettes are
/// looked up, CMYK is converted; of 16 bits the upper eight are kept, but grey is clipped at 255, as
/// PIL does. Of animations the first frame is taken, on black or, in a GIF, on its transparent colour or the
/// palette's first. EXIF orientation is not applied, as torchvision's image folders don't either;
/// [`facts`](super::facts) tells it.
///
/// # Errors
/// [`Error::File`] for anything that isn't a whole image of these formats of at most 179 million pixels.
pub fn decode(bytes: &[u8], path: &Path) -> Result<Image8> {
    decode_part(bytes, path, &mut Area::whole)
}

/// As [`decode`], of the part of the image that `choose` gives for its height and width, which is asked once: the
/// pixels are those that [`crop`](super::transform::crop) cuts out of the whole, and damage anywhere in the file
/// is found as there. Of a JPEG, only what the part needs is transformed to pixels.
///
/// # Errors
/// Those of [`decode`], and [`Error::Shape`] if the area doesn't lie in the image.
pub fn decode_part(bytes: &[u8], path: &Path, choose: &mut ChooseArea<'_>) -> Result<Image8> {
    let mut failed = None;
    let mut choose = |height, width| {
        let area = choose(height, width);
        if area.lies_in(height, width) {
            return area;
        }
        failed = Some(outside(area, height, width));
        Area::whole(height, width)
    };
    let whole = match ImageFormat::of(bytes, path)? {
        ImageFormat::Jpeg => {
            let part = jpeg::decode(bytes, MAX_PIXELS, &mut choose);
            let part = part.map_err(|detail| Error::file(path, detail));
            return failed.map_or(part, Err);
        }
        ImageFormat::Png => png::decode(bytes, MAX_PIXELS),
        ImageFormat::Webp => webp::decode(bytes, MAX_PIXELS),
        ImageFormat::Bmp => bmp::decode(bytes, MAX_PIXELS),
        ImageFormat::Gif => gif::decode(bytes, MAX_PIXELS),
    };
    let whole = whole.map_err(|detail| Error::file(path, detail))?;
    let area = choose(whole.height, whole.width);
    failed.map_or_else(|| part_of(Cow::Owned(whole), area), Err)
}
