//! WebP, decoded to the pixels of PIL's `convert("RGB")`: lossy, lossless, and the first frame of an animation.
//!
//! The crate `image-webp` decodes the bitstreams; its pixels are libwebp's, those of lossy files too. What stands
//! around them is read here. As in PIL, alpha is dropped, not blended; what an animation's first frame doesn't cover
//! is black, whatever its background; colour profiles are ignored.

use super::Image8;
use image_webp::WebPDecoder;
use std::io::Cursor;

type Decoded<T> = std::result::Result<T, String>;

/// What stands before the pixels.
pub(super) struct WebpHeader<'a> {
    pub width: usize,
    pub height: usize,
    pub has_alpha: bool,
    /// Where the picture, or the first frame, lies: left, top, columns, rows.
    frame: [usize; 4],
    /// Its alpha, if that is apart.
    alpha: Option<&'a [u8]>,
    /// Its bitstream, and the name of its chunk.
    stream: (&'a [u8; 4], &'a [u8]),
    /// Exif data.
    pub exif: Option<&'a [u8]>,
}

/// Decodes a whole file of at most `max_pixels`.
///
/// # Errors
/// In words that follow the file's name: truncated, corrupt, too large.
pub(super) fn decode(bytes: &[u8], max_pixels: usize) -> Decoded<Image8> {
    let header = WebpHeader::parse(bytes, max_pixels)?;
    let WebpHeader { width, height, frame: [left, top, columns, rows], .. } = header;
    let failed = |source: image_webp::DecodingError| {
        format!("is a truncated or corrupt WebP: its image data can't be decoded ({source})")
    };
    let mut decoder = WebPDecoder::new(Cursor::new(header.essence())).map_err(failed)?;
    if decoder.dimensions() != (columns as u32, rows as u32) {
        return Err("is a corrupt WebP: its image has another size than its header says".into());
    }
    let values = if decoder.has_alpha() { 4 } else { 3 };
    let mut samples = vec![0; columns * rows * values];
    decoder.read_image(&mut samples).map_err(failed)?;
    if values == 3 && (columns, rows) == (width, height) {
        return Ok(Image8 { height, width, pixels: samples });
    }
    let mut image = Image8::black(height, width);
    for (y, samples) in samples.chunks_exact(columns * values).enumerate() {
        let start = ((top + y) * width + left) * 3;
        let row = &mut image.pixels[start..start + columns * 3];
        for (pixel, sample) in row.chunks_exact_mut(3).zip(samples.chunks_exact(values)) {
            pixel.copy_from_slice(&sample[..3]);
        }
    }
    Ok(image)
}

impl<'a> WebpHeader<'a> {
    /// Reads the chunks of a file of at most `max_pixels`.
    pub(super) fn parse(bytes: &'a [u8], max_pixels: usize) -> Decoded<WebpHeader<'a>> {
        if bytes.get(..4) != Some(b"RIFF") || bytes.get(8..12) != Some(b"WEBP") {
            return corrupt("its first twelve bytes aren't a WebP's");
        }
        let length = bytes.get(4..).and_then(|rest| rest.first_chunk::<4>());
        let length = length.map_or(0, |&length| u32::from_le_bytes(length) as usize);
        let Some(body) = bytes.get(12..8usize.saturating_add(length)) else {
            return Err("is a truncated WebP: it is shorter than it says".into());
        };
        let mut chunks = WebpChunks { rest: body };
        let Some((name, data)) = chunks.next()? else {
            return corrupt("it holds no image");
        };
        let header = match name {
            b"VP8X" => WebpHeader::extended(data, chunks)?,
            _ => {
                let mut picture = WebpPicture::default();
                picture.chunk(name, data)?;
                picture.header()?
            }
        };
        let WebpHeader { width, height, .. } = header;
        if width.checked_mul(height).is_none_or(|pixels| pixels > max_pixels) {
            return Err(format!("is refused: a WebP of {width}×{height} pixels"));
        }
        Ok(header)
    }

    /// A file that begins with its features.
    fn extended(features: &'a [u8], mut chunks: WebpChunks<'a>) -> Decoded<WebpHeader<'a>> {
        if features.len() < 10 {
            return corrupt("its header is too short");
        }
        let (flags, width, height) = (features[0], three(features, 4) + 1, three(features, 7) + 1);
        let is_animated = flags & 2 != 0;
        let (mut picture, mut frame, mut exif) = (WebpPicture::default(), None, None);
        while let Some((name, data)) = chunks.next()? {
            match name {
                b"EXIF" => exif = Some(data),
                b"ANMF" if is_animated && frame.is_none() => frame = Some(WebpHeader::frame(data)?),
                _ if !is_animated => picture.chunk(name, data)?,
                _ => {}
            }
        }
        let header = match is_animated {
            true => frame.ok_or("is a corrupt WebP: its animation has no frame")?,
            false => picture.header()?,
        };
        let [left, top, columns, rows] = header.frame;
        let fits = left + columns <= width && top + rows <= height;
        if !fits || !is_animated && (columns, rows) != (width, height) {
            return corrupt("its image has another size than its header says");
        }
        Ok(WebpHeader {
            width,
            height,
            has_alpha: header.has_alpha || flags & 0x10 != 0,
            exif,
            ..header
        })
    }

    /// A frame of an animation.
    fn frame(data: &'a [u8]) -> Decoded<WebpHeader<'a>> {
        let Some((place, rest)) = data.split_first_chunk::<16>() else {
            return corrupt("a frame of its animation is too short");
        };
        let (left, top) = (2 * three(place, 0), 2 * three(place, 3));
        let (width, height) = (three(place, 6) + 1, three(place, 9) + 1);
        let mut picture = WebpPicture::default();
        let mut chunks = WebpChunks { rest };
        while let Some((name, data)) = chunks.next()? {
            picture.chunk(name, data)?;
        }
        let header = picture.header()?;
        if (header.width, header.height) != (width, height) {
            return corrupt("a frame of its animation has another size than its header says");
        }
        Ok(WebpHeader { frame: [left, top, width, height], ..header })
    }

    /// A file of the picture alone.
    fn essence(&self) -> Vec<u8> {
        let mut body = b"WEBP".to_vec();
        let mut chunk = |name: &[u8; 4], data: &[u8]| {
            body.extend(name);
            body.extend((data.len() as u32).to_le_bytes());
            body.extend(data);
            body.resize(body.len().next_multiple_of(2), 0);
        };
        if let Some(alpha) = self.alpha {
            let [.., columns, rows] = self.frame;
            let mut features = [0; 10];
            features[0] = 0x10;
            features[4..7].copy_from_slice(&((columns - 1) as u32).to_le_bytes()[..3]);
            features[7..].copy_from_slice(&((rows - 1) as u32).to_le_bytes()[..3]);
            chunk(b"VP8X", &features);
            chunk(b"ALPH", alpha);
        }
        chunk(self.stream.0, self.stream.1);
        let mut file = b"RIFF".to_vec();
        file.extend((body.len() as u32).to_le_bytes());
        file.extend(body);
        file
    }
}

/// The chunks of one picture.
#[derive(Default)]
struct WebpPicture<'a> {
    alpha: Option<&'a [u8]>,
    stream: Option<(&'a [u8; 4], &'a [u8])>,
}

impl<'a> WebpPicture<'a> {
    /// Takes alpha, which comes first, and a bitstream.
    fn chunk(&mut self, name: &'a [u8; 4], data: &'a [u8]) -> Decoded<()> {
        match name {
            b"ALPH" if self.stream.is_none() => self.alpha = self.alpha.or(Some(data)),
            b"VP8 " | b"VP8L" if self.stream.is_some() => return corrupt("it holds two images"),
            b"VP8 " | b"VP8L" => self.stream = Some((name, data)),
            _ => {}
        }
        Ok(())
    }

    /// What the bitstream says.
    fn header(self) -> Decoded<WebpHeader<'a>> {
        let Some(stream) = self.stream else {
            return corrupt("it holds no image");
        };
        let (width, height, has_alpha) = match stream {
            (b"VP8 ", &[_, _, _, 0x9d, 1, 0x2a, a, b, c, d, ..]) => {
                let side =
                    |low: u8, high: u8| usize::from(u16::from_le_bytes([low, high]) & 0x3fff);
                (side(a, b), side(c, d), self.alpha.is_some())
            }
            (b"VP8L", &[0x2f, a, b, c, d, ..]) => {
                let bits = u32::from_le_bytes([a, b, c, d]);
                let side = |bits: u32| (bits & 0x3fff) as usize + 1;
                (side(bits), side(bits >> 14), bits >> 28 & 1 == 1)
            }
            _ => return corrupt("its image doesn't begin as one"),
        };
        if width == 0 || height == 0 {
            return corrupt("its header gives it no height or no width");
        }
        // A lossless picture has its alpha within.
        let alpha = self.alpha.filter(|_| stream.0 == b"VP8 ");
        let frame = [0, 0, width, height];
        Ok(WebpHeader { width, height, has_alpha, frame, alpha, stream, exif: None })
    }
}

/// WebpChunks one after the other.
struct WebpChunks<'a> {
    rest: &'a [u8],
}

impl<'a> WebpChunks<'a> {
    /// The next chunk's name and data; `None` at the end.
    fn next(&mut self) -> Decoded<Option<(&'a [u8; 4], &'a [u8])>> {
        let Some((name, rest)) = self.rest.split_first_chunk::<4>() else { return Ok(None) };
        let Some((&length, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(length) as usize;
        let Some(data) = rest.get(..length) else {
            return Err("is a truncated WebP: it ends inside a chunk".into());
        };
        // An odd length is followed by a byte.
        self.rest = rest.get(length.next_multiple_of(2)..).unwrap_or_default();
        Ok(Some((name, data)))
    }
}

/// Three bytes, the lower one first; the caller knows that they are there.
fn three(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], 0]) as usize
}

fn corrupt<T>(why: &str) -> Decoded<T> {
    Err(format!("is a corrupt WebP: {why}"))
}
