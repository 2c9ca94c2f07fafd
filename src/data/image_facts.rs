//! What an image file says of itself, without its pixels.

use super::image_format::{ColourKind, FoundFacts, ImageFormat, MAX_PIXELS};
use super::{bmp, exif, gif, jpeg, png, webp};
use crate::{Error, Result};
use std::path::Path;

/// An image file by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageFacts {
    /// What the file is.
    pub format: ImageFormat,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// What it holds.
    pub colour: ColourKind,
    /// Orientation by its Exif data, 1 to 8; 1, upright, where they say nothing that makes sense. Decoding
    /// doesn't apply it, as torchvision's image folders don't either.
    pub orientation: u8,
}

impl ImageFacts {
    /// Whether viewers would show it turned or mirrored.
    pub fn is_turned(&self) -> bool {
        self.orientation != 1
    }
}

/// Reads a file's header. What only decoding shows, damage of the pixels above all, isn't seen. `path` is only
/// what errors call it.
///
/// # Errors
/// [`Error::File`] for anything that isn't an image of a kind that [`decode`](super::decode) reads, of at most
/// 179 million pixels.
pub fn facts(bytes: &[u8], path: &Path) -> Result<ImageFacts> {
    let format = ImageFormat::of(bytes, path)?;
    let found = match format {
        ImageFormat::Jpeg => of_jpeg(bytes),
        ImageFormat::Png => png::facts(bytes, MAX_PIXELS),
        ImageFormat::Webp => of_webp(bytes),
        ImageFormat::Bmp => bmp::BmpHeader::parse(bytes, MAX_PIXELS).map(|header| {
            let colour = if header.bits <= 8 { ColourKind::Palette } else { ColourKind::Rgb };
            (header.width, header.height, colour, 1)
        }),
        ImageFormat::Gif => gif::GifHeader::parse(bytes, MAX_PIXELS)
            .map(|header| (header.width, header.height, ColourKind::Palette, 1)),
    };
    let found = found.map_err(|detail| Error::file(path, detail));
    found.map(|(width, height, colour, orientation)| ImageFacts {
        format,
        width,
        height,
        colour,
        orientation,
    })
}

fn of_jpeg(bytes: &[u8]) -> FoundFacts {
    let header = jpeg::header(bytes, MAX_PIXELS)?;
    let colour = match header.components {
        1 => ColourKind::Grey,
        3 => ColourKind::Rgb,
        _ => ColourKind::Cmyk,
    };
    Ok((header.width, header.height, colour, exif::orientation(header.exif)))
}

fn of_webp(bytes: &[u8]) -> FoundFacts {
    let header = webp::WebpHeader::parse(bytes, MAX_PIXELS)?;
    let colour = if header.has_alpha { ColourKind::Rgba } else { ColourKind::Rgb };
    Ok((header.width, header.height, colour, exif::orientation(header.exif)))
}
