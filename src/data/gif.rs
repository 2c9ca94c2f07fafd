//! The first frame of a GIF, decoded to the pixels of PIL's `convert("RGB")`.
//!
//! The crate `weezl` undoes compression. As in PIL, the picture is the screen, or more where the frame leads
//! beyond it; what the frame doesn't cover has the transparent index, or else 0, not the background's; transparent
//! pixels keep their colour; without a palette, or where it is the beginning of the grey scale, an index is its
//! grey; behind a palette's end there is black. Pixels that are missing are an error.
//!
//! Otherwise than PIL, a frame whose own palette is the beginning of the grey scale is grey, too, where the screen
//! has a palette of colours: PIL gives it those.

use super::Image8;
use weezl::{BitOrder, LzwStatus, decode::Decoder};

type Decoded<T> = std::result::Result<T, String>;

/// What a file says before its first frame's pixels.
pub(super) struct GifHeader {
    pub width: usize,
    pub height: usize,
    /// Where the frame lies: left, top, columns, rows.
    frame: [usize; 4],
    is_interlaced: bool,
    /// The index of what the frame doesn't cover.
    fill: u8,
    /// 256 colours.
    palette: Vec<[u8; 3]>,
    /// Where the frame's data begin, with the size of their codes.
    data: usize,
}

/// Decodes the first frame of a file of at most `max_pixels`.
///
/// # Errors
/// In words that follow the file's name: truncated, corrupt, too large.
pub(super) fn decode(bytes: &[u8], max_pixels: usize) -> Decoded<Image8> {
    let header = GifHeader::parse(bytes, max_pixels)?;
    let GifHeader { width, height, frame: [left, top, columns, rows], ref palette, .. } = header;
    let indices = indices(bytes, header.data, columns * rows)?;
    let mut image = Image8::black(height, width);
    let fill = palette[usize::from(header.fill)];
    if (left, top, columns, rows) != (0, 0, width, height) {
        image.pixels.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&fill));
    }
    for (y, indices) in places(rows, header.is_interlaced).zip(indices.chunks_exact(columns)) {
        let start = ((top + y) * width + left) * 3;
        let row = &mut image.pixels[start..start + columns * 3];
        for (pixel, &index) in row.chunks_exact_mut(3).zip(indices) {
            pixel.copy_from_slice(&palette[usize::from(index)]);
        }
    }
    Ok(image)
}

/// The places of rows in the order of the file.
fn places(rows: usize, is_interlaced: bool) -> impl Iterator<Item = usize> {
    let passes: &[(usize, usize)] =
        if is_interlaced { &[(0, 8), (4, 8), (2, 4), (1, 2)] } else { &[(0, 1)] };
    passes.iter().flat_map(move |&(first, step)| (first..rows).step_by(step))
}

/// The first `count` indices of a frame.
fn indices(bytes: &[u8], at: usize, count: usize) -> Decoded<Vec<u8>> {
    let mut file = GifReader { bytes, at };
    let size = file.byte()?;
    if !(2..=11).contains(&size) {
        return Err(format!("is a corrupt GIF: there are no codes of {size} bits"));
    }
    let mut decoder = Decoder::new(BitOrder::Lsb, size);
    let mut indices = vec![0; count];
    let mut filled = 0;
    while let Some(mut block) = file.block() {
        // Until nothing comes out any more: codes that were read may make more than there was room for.
        loop {
            let made = decoder.decode_bytes(block, &mut indices[filled..]);
            block = &block[made.consumed_in..];
            filled += made.consumed_out;
            if filled == count {
                return Ok(indices);
            }
            match made.status {
                Ok(LzwStatus::Ok) if made.consumed_in + made.consumed_out > 0 => {}
                Ok(LzwStatus::Ok | LzwStatus::NoProgress) => break,
                Ok(LzwStatus::Done) => return Err("is a corrupt GIF: pixels are missing".into()),
                Err(_) => return Err("is a corrupt GIF: its image data make no sense".into()),
            }
        }
    }
    Err("is a truncated GIF: its image data end too early".into())
}

impl GifHeader {
    /// Reads what comes before the pixels of a file of at most `max_pixels`.
    pub(super) fn parse(bytes: &[u8], max_pixels: usize) -> Decoded<GifHeader> {
        if !(bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a")) {
            return Err("is a GIF of a version that isn't read".into());
        }
        let mut file = GifReader { bytes, at: 6 };
        let screen = [file.word()?, file.word()?];
        let flags = file.byte()?;
        file.take(2)?;
        let global = file.palette(flags)?;
        let mut fill = 0;
        loop {
            match file.byte()? {
                b';' => return Err("is a GIF without an image".into()),
                b'!' => {
                    let is_control = file.byte()? == 0xf9;
                    match (file.block(), is_control) {
                        (Some(&[flags, _, _, transparent, ..]), true) if flags & 1 == 1 => {
                            fill = transparent;
                        }
                        (Some(&[flags, _, _, ..]), true) if flags & 1 == 0 => {}
                        (_, false) => {}
                        (_, true) => {
                            return Err("is a corrupt GIF: an extension is too short".into());
                        }
                    }
                    while file.block().is_some() {}
                }
                b',' => break,
                // PIL looks for the next one, too.
                _ => {}
            }
        }
        let [left, top, columns, rows] = [file.word()?, file.word()?, file.word()?, file.word()?];
        let flags = file.byte()?;
        let palette = file.palette(flags)?.or(global);
        let (width, height) = (screen[0].max(left + columns), screen[1].max(top + rows));
        if columns == 0 || rows == 0 {
            return Err("is a corrupt GIF: its first frame has no height or no width".into());
        }
        if width * height > max_pixels {
            return Err(format!("is refused: a GIF of {width}×{height} pixels"));
        }
        let is_interlaced = flags & 0x40 != 0;
        let frame = [left, top, columns, rows];
        let palette = palette.unwrap_or_else(greys);
        Ok(GifHeader { width, height, frame, is_interlaced, fill, palette, data: file.at })
    }
}

fn greys() -> Vec<[u8; 3]> {
    (0..=255).map(|grey| [grey; 3]).collect()
}

/// A place in a file.
struct GifReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> GifReader<'a> {
    fn take(&mut self, count: usize) -> Decoded<&'a [u8]> {
        let found = self.bytes.get(self.at..self.at + count);
        self.at += count;
        found.ok_or_else(|| "is a truncated GIF: it ends before its first image".into())
    }

    fn byte(&mut self) -> Decoded<u8> {
        Ok(self.take(1)?[0])
    }

    fn word(&mut self) -> Decoded<usize> {
        let bytes = self.take(2)?;
        Ok(usize::from(bytes[0]) | usize::from(bytes[1]) << 8)
    }

    /// The next block of data, or what is there of it; `None` at the mark behind the last one.
    fn block(&mut self) -> Option<&'a [u8]> {
        let size = usize::from(*self.bytes.get(self.at)?);
        let rest = &self.bytes[self.at + 1..];
        let block = &rest[..size.min(rest.len())];
        self.at += 1 + block.len();
        (size > 0).then_some(block)
    }

    /// The palette that flags announce.
    fn palette(&mut self, flags: u8) -> Decoded<Option<Vec<[u8; 3]>>> {
        if flags & 0x80 == 0 {
            return Ok(None);
        }
        let entries = self.take(3 << ((flags & 7) + 1))?.chunks_exact(3);
        let is_scale = entries.clone().zip(0..).all(|(entry, i)| entry == [i; 3]);
        let mut palette = if is_scale { greys() } else { vec![[0; 3]; 256] };
        for (colour, entry) in palette.iter_mut().zip(entries) {
            colour.copy_from_slice(entry);
        }
        Ok(Some(palette))
    }
}
