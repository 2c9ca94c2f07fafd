//! From file bytes to 8-bit RGB, as PIL's `convert("RGB")` would give it.

use super::transform::{Area, ChooseArea};
use super::{Image8, jpeg, outside, part_of, png};
use crate::{Error, Result};
use std::borrow::Cow;
use std::path::Path;

/// Reads and decodes a JPEG or PNG file; see [`decode`].
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

/// Most pixels of an image: from there on PIL refuses it as a decompression bomb. No photograph
/// gets there, and a hostile header can't take all memory.
const MAX_PIXELS: usize = 178_956_970;

/// Decodes the bytes of a JPEG or PNG file; which of the two it is is read off the bytes, not the
/// name. `path` is only what errors call it.
///
/// Grey values are copied to the three channels, alpha is dropped (not blended), palettes are
/// looked up, CMYK is converted; of 16 bits the upper eight are kept, but grey is clipped at 255, as
/// PIL does. EXIF orientation is not applied, as torchvision's image folders don't either.
///
/// # Errors
/// [`Error::File`] for anything that isn't a whole JPEG or PNG of at most 179 million pixels.
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
    let cut = |image: Image8, choose: &mut ChooseArea<'_>| {
        let area = choose(image.height, image.width);
        part_of(Cow::Owned(image), area)
    };
    let at = |detail: String| Error::file(path, detail);
    let decoded = match bytes {
        [] => Err(at("is empty; expected a JPEG or PNG image".into())),
        [0xff, 0xd8, 0xff, ..] => jpeg::decode(bytes, MAX_PIXELS, &mut choose).map_err(at),
        [0x89, b'P', b'N', b'G', ..] => {
            png::decode(bytes, MAX_PIXELS).map_err(at).and_then(|image| cut(image, &mut choose))
        }
        _ => Err(at(match other_format(bytes) {
            Some(format) => format!("is a {format} image; only JPEG and PNG are read"),
            None => "is neither a JPEG nor a PNG image".into(),
        })),
    };
    failed.map_or(decoded, Err)
}

/// The name of a format that PIL would read, by its first bytes.
fn other_format(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [b'G', b'I', b'F', b'8', ..] => Some("GIF"),
        [b'B', b'M', ..] => Some("BMP"),
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Some("TIFF"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("WebP"),
        [b'P', b'1'..=b'6', b' ' | b'\n' | b'\r' | b'\t', ..] => Some("PNM"),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some("HEIF or AVIF"),
        [0, 0, 0, 12, b'j', b'P', ..] => Some("JPEG 2000"),
        _ => None,
    }
}
