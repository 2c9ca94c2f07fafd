//! Which format a file has, by its first bytes, and what kinds of colour there are.

use crate::{Error, Result};
use std::path::Path;
use strum::{Display, IntoStaticStr};

/// Most pixels of an image: from there on PIL refuses it as a decompression bomb. No photograph
/// gets there, and a hostile header can't take all memory.
pub(super) const MAX_PIXELS: usize = 178_956_970;

/// A format of image files that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Display, IntoStaticStr)]
#[strum(serialize_all = "UPPERCASE")]
pub enum ImageFormat {
    /// JPEG, sequential and progressive.
    Jpeg,
    /// PNG, of every kind.
    Png,
    /// WebP, lossy and lossless.
    #[strum(serialize = "WebP")]
    Webp,
    /// Windows bitmaps.
    Bmp,
    /// GIF.
    Gif,
}

/// What a file holds; decoding gives red, green and blue of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Display, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum ColourKind {
    /// Grey.
    Grey,
    /// Grey and alpha, which decoding drops.
    GreyAlpha,
    /// Red, green and blue, however they are coded.
    Rgb,
    /// The same and alpha, which decoding drops.
    Rgba,
    /// Indices of colours.
    Palette,
    /// Cyan, magenta, yellow and black, which decoding converts as PIL does.
    Cmyk,
}

/// Width, height, colour and orientation; or what follows the file's name in an error.
pub(super) type FoundFacts = std::result::Result<(usize, usize, ColourKind, u8), String>;

impl ImageFormat {
    /// The format that a file's bytes have; its name says nothing. `path` is only what errors call it.
    ///
    /// # Errors
    /// [`Error::File`] for anything else, by name where it is a format that others read.
    pub fn of(bytes: &[u8], path: &Path) -> Result<ImageFormat> {
        let detail = match bytes {
            [] => "is empty; expected a JPEG, PNG, WebP, BMP or GIF image".into(),
            [0xff, 0xd8, 0xff, ..] => return Ok(ImageFormat::Jpeg),
            [0x89, b'P', b'N', b'G', ..] => return Ok(ImageFormat::Png),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
                return Ok(ImageFormat::Webp);
            }
            [b'B', b'M', ..] => return Ok(ImageFormat::Bmp),
            [b'G', b'I', b'F', b'8', ..] => return Ok(ImageFormat::Gif),
            _ => match other_format(bytes) {
                Some(format) => {
                    format!("is a {format} image; only JPEG, PNG, WebP, BMP and GIF are read")
                }
                None => "is neither a JPEG nor a PNG, WebP, BMP or GIF image".into(),
            },
        };
        Err(Error::file(path, detail))
    }
}

/// The name of a format that PIL would read, by its first bytes.
fn other_format(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Some("TIFF"),
        [b'P', b'1'..=b'6', b' ' | b'\n' | b'\r' | b'\t', ..] => Some("PNM"),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some("HEIF or AVIF"),
        [0, 0, 0, 12, b'j', b'P', ..] => Some("JPEG 2000"),
        _ => None,
    }
}
