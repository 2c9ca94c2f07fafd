//! PNG, decoded to the pixels of PIL's `convert("RGB")`.
//!
//! The crate `png` undoes compression, filters and interlacing. Which chunks count, what is refused and
//! how samples become 8 bits of three colours is PIL's way, and so here: 16-bit grey is clipped at 255
//! (PIL's modes I and I;16 hold it as it is), other 16-bit samples keep their upper byte, alpha and
//! transparent colours are dropped, colour profiles and gamma ignored. Of an animation the picture
//! that other readers show is taken.
//!
//! Stricter than PIL is what follows from damage: rows that are missing (PIL leaves them black), a
//! header that isn't the first chunk or comes twice, no palette for indices. Laxer: text and profiles
//! of more than a megabyte, which PIL refuses, are passed over.

mod chunks;

use super::image_format::{ColourKind, FoundFacts};
use super::{Image8, exif};
use chunks::{Chunks, Header};
use png::ColorType;
use std::io::Cursor;

type Decoded<T> = std::result::Result<T, String>;

/// The first eight bytes.
pub(super) const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Decodes a whole file of at most `max_pixels`.
///
/// # Errors
/// In words that follow the file's name: truncated, corrupt, too large.
pub(super) fn decode(bytes: &[u8], max_pixels: usize) -> Decoded<Image8> {
    let chunks = Chunks::read(bytes, max_pixels)?;
    let samples = samples(&chunks)?;
    let Header { width, height, colour, .. } = chunks.header;
    let area = &chunks.area;
    let palette = palette(chunks.palette);
    let mut image = Image8::black(height, width);
    if colour == ColorType::Indexed {
        // What the frame doesn't cover has the index 0.
        image.pixels.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&palette[0]));
    }
    let stride = samples.len() / area.height;
    for (y, row) in samples.chunks_exact(stride).enumerate() {
        let start = ((area.top + y) * width + area.left) * 3;
        convert(&chunks.header, &palette, row, &mut image.pixels[start..start + area.width * 3]);
    }
    Ok(image)
}

/// Width, height, colour and orientation of a file of at most `max_pixels`.
pub(super) fn facts(bytes: &[u8], max_pixels: usize) -> FoundFacts {
    let Chunks { header, exif, .. } = Chunks::read(bytes, max_pixels)?;
    let colour = match header.colour {
        ColorType::Grayscale => ColourKind::Grey,
        ColorType::GrayscaleAlpha => ColourKind::GreyAlpha,
        ColorType::Rgb => ColourKind::Rgb,
        ColorType::Rgba => ColourKind::Rgba,
        ColorType::Indexed => ColourKind::Palette,
    };
    Ok((header.width, header.height, colour, exif::orientation(exif)))
}

/// The samples of the frame as the file has them: rows of packed bits, or bytes, the upper one first.
fn samples(chunks: &Chunks<'_>) -> Decoded<Vec<u8>> {
    let failed = |source: png::DecodingError| {
        format!("is a truncated or corrupt PNG: its image data can't be decoded ({source})")
    };
    // The chunks have been judged; what the crate sees is only what it is to undo.
    let mut options = png::DecodeOptions::default();
    options.set_ignore_crc(true);
    options.set_ignore_adler32(false);
    let file = Cursor::new(chunks.essence());
    let mut decoder = png::Decoder::new_with_options(file, options);
    decoder.set_limits(png::Limits { bytes: usize::MAX });
    let mut reader = decoder.read_info().map_err(failed)?;
    let size = reader.output_buffer_size().ok_or("is refused: its rows are too long")?;
    let mut samples = vec![0; size];
    reader.next_frame(&mut samples).map_err(failed)?;
    Ok(samples)
}

/// The colours of a palette; black behind its end.
fn palette(entries: &[u8]) -> [[u8; 3]; 256] {
    let mut palette = [[0; 3]; 256];
    for (colour, entry) in palette.iter_mut().zip(entries.chunks_exact(3)) {
        colour.copy_from_slice(entry);
    }
    palette
}

/// A row of samples as RGB.
fn convert(header: &Header, palette: &[[u8; 3]; 256], row: &[u8], pixels: &mut [u8]) {
    let (depth, bytes) = (header.depth, header.depth / 8);
    let step = header.colour.samples() * bytes;
    // One channel alone may have less than 8 bits.
    let packed =
        |x: usize| row[x * depth / 8] >> (8 - depth - x * depth % 8) & ((1 << depth) - 1) as u8;
    match (header.colour, depth) {
        (ColorType::Indexed, 8) => fill(pixels, |x| palette[usize::from(row[x])]),
        (ColorType::Indexed, _) => fill(pixels, |x| palette[usize::from(packed(x))]),
        (ColorType::Grayscale, 1 | 2 | 4) => {
            let scale = (255 / ((1 << depth) - 1)) as u8;
            fill(pixels, |x| [packed(x) * scale; 3]);
        }
        (ColorType::Grayscale, 16) => {
            fill(pixels, |x| [if row[2 * x] == 0 { row[2 * x + 1] } else { 255 }; 3]);
        }
        (ColorType::Grayscale | ColorType::GrayscaleAlpha, _) => {
            fill(pixels, |x| [row[step * x]; 3]);
        }
        (ColorType::Rgb | ColorType::Rgba, _) => {
            fill(pixels, |x| [0, 1, 2].map(|channel| row[step * x + channel * bytes]));
        }
    }
}

fn fill(pixels: &mut [u8], colour: impl Fn(usize) -> [u8; 3]) {
    for (x, pixel) in pixels.chunks_exact_mut(3).enumerate() {
        pixel.copy_from_slice(&colour(x));
    }
}
