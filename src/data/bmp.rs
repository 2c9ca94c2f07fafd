//! BMP, decoded to the pixels of PIL's `convert("RGB")`.
//!
//! Palettes of 1, 4 and 8 bits, 16 bits (5 a colour, or 5, 6 and 5), 24 and 32 bits, from the bottom or the top,
//! and runs of 4 and 8 bits. As in PIL, what an RLE file skips has the index 0, a fourth byte is dropped, whether
//! it is alpha or not, and indices behind a palette's end are black; where a palette of 8 bits is the grey scale,
//! an index is its grey.
//!
//! Otherwise than PIL, grey scales of fewer colours are looked up like other palettes: PIL reads files of 8 bits
//! with two grey colours as if they had one bit, and refuses those of 4 bits with 16 grey colours.

use super::Image8;

type Decoded<T> = std::result::Result<T, String>;

/// How pixels lie in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BmpLayout {
    /// Indices of so many bits, the first one on top.
    Indices(usize),
    /// Runs of indices, as bytes or halves of bytes.
    Runs { is_half: bool },
    /// 16 bits, the lower byte first, with so many of them green.
    Words { green: u32 },
    /// Bytes a pixel, and which of them are red, green and blue.
    Bytes(usize, [usize; 3]),
}

/// What a file's headers say.
#[derive(Debug)]
pub(super) struct BmpHeader {
    pub width: usize,
    pub height: usize,
    /// Bits a pixel.
    pub bits: u16,
    from_top: bool,
    layout: BmpLayout,
    /// 256 colours, where there are indices.
    palette: Vec<[u8; 3]>,
    /// Where pixels begin.
    data: usize,
}

/// Decodes a whole file of at most `max_pixels`.
///
/// # Errors
/// In words that follow the file's name: truncated, corrupt, of a kind that isn't read, too large.
pub(super) fn decode(bytes: &[u8], max_pixels: usize) -> Decoded<Image8> {
    let header = BmpHeader::parse(bytes, max_pixels)?;
    let BmpHeader { width, height, layout, ref palette, .. } = header;
    let data = bytes.get(header.data..).unwrap_or_default();
    let row_bits = match layout {
        BmpLayout::Indices(bits) => width * bits,
        BmpLayout::Runs { .. } => width * 8,
        BmpLayout::Words { .. } => width * 16,
        BmpLayout::Bytes(count, _) => width * count * 8,
    };
    let unpacked;
    let (data, stride) = match layout {
        BmpLayout::Runs { is_half } => {
            unpacked = Runs { bytes, at: header.data, width, is_half }.unpack(width * height)?;
            (unpacked.as_slice(), width)
        }
        _ => (data, row_bits.div_ceil(32) * 4),
    };
    // What fills the last row up may be missing.
    if data.len() < (height - 1) * stride + row_bits.div_ceil(8) {
        return Err("is a truncated BMP: it ends before its last row".into());
    }
    let mut image = Image8::black(height, width);
    for (y, row) in image.pixels.chunks_exact_mut(width * 3).enumerate() {
        let y = if header.from_top { y } else { height - 1 - y };
        let data = &data[y * stride..];
        for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
            pixel.copy_from_slice(&match layout {
                BmpLayout::Indices(bits) => {
                    let shift = 8 - bits - x * bits % 8;
                    palette[usize::from(data[x * bits / 8] >> shift) & ((1 << bits) - 1)]
                }
                BmpLayout::Runs { .. } => palette[usize::from(data[x])],
                BmpLayout::Words { green } => {
                    let word = u16::from_le_bytes([data[2 * x], data[2 * x + 1]]);
                    let scaled = |from: u32, bits: u32| {
                        let most = (1 << bits) - 1;
                        ((u32::from(word) >> from & most) * 255 / most) as u8
                    };
                    [scaled(5 + green, 5), scaled(5, green), scaled(0, 5)]
                }
                BmpLayout::Bytes(count, places) => places.map(|place| data[count * x + place]),
            });
        }
    }
    Ok(image)
}

impl BmpHeader {
    /// Reads headers and palette of a file of at most `max_pixels`.
    pub(super) fn parse(bytes: &[u8], max_pixels: usize) -> Decoded<BmpHeader> {
        let mut data = long(bytes, 10)? as usize;
        let size = long(bytes, 14)? as usize;
        let is_core = size == 12;
        if !is_core && ![40, 52, 56, 64, 108, 124].contains(&size) {
            return Err(format!("is a BMP with a header of {size} bytes, which isn't read"));
        }
        if bytes.len() < 14 + size {
            return Err("is a truncated BMP: it ends inside its header".into());
        }
        // A height with its sign.
        let (width, height, bits, compression, colours) = if is_core {
            let (width, height) = (word(bytes, 18)?, word(bytes, 20)?);
            (width.into(), i64::from(height), word(bytes, 24)?, 0, 0)
        } else {
            let height = long(bytes, 22)?;
            // PIL takes as negative what isn't below -2^24.
            let height =
                if height >> 24 == 0xff { i64::from(height as i32) } else { height.into() };
            (long(bytes, 18)?, height, word(bytes, 28)?, long(bytes, 30)?, long(bytes, 46)?)
        };
        let (width, from_top, height) =
            (width as usize, height < 0, height.unsigned_abs() as usize);
        if width == 0 || height == 0 {
            return Err("is a corrupt BMP: its header gives it no height or no width".into());
        }
        if width.checked_mul(height).is_none_or(|pixels| pixels > max_pixels) {
            return Err(format!("is refused: a BMP of {width}×{height} pixels"));
        }
        let mut at = 14 + size;
        let masks = match (compression, size) {
            (3, 40) => {
                at += 12;
                [long(bytes, 54)?, long(bytes, 58)?, long(bytes, 62)?, 0]
            }
            (3, 52) => [long(bytes, 54)?, long(bytes, 58)?, long(bytes, 62)?, 0],
            (3, 56..) => [long(bytes, 54)?, long(bytes, 58)?, long(bytes, 62)?, long(bytes, 66)?],
            _ => [0; 4],
        };
        let layout = layout(bits, compression, masks)?;
        let mut palette = Vec::new();
        if bits <= 8 {
            let colours = if colours == 0 { 1 << bits } else { colours as usize };
            if colours > 256 {
                return Err(format!(
                    "is a BMP with a palette of {colours} colours, which isn't read"
                ));
            }
            let entry = if is_core { 3 } else { 4 };
            if data == 14 + size {
                data += entry * colours;
            }
            let end = (at + entry * colours).min(bytes.len());
            palette = colours_of(&bytes[at.min(end)..end], entry, colours, bits);
            at = end;
        }
        let data = if data == 0 { at } else { data };
        Ok(BmpHeader { width, height, bits, from_top, layout, palette, data })
    }
}

/// How pixels lie, by their bits, the file's compression and the masks of red, green, blue and alpha.
fn layout(bits: u16, compression: u32, masks: [u32; 4]) -> Decoded<BmpLayout> {
    let bgr = [2, 1, 0];
    match (bits, compression) {
        (1 | 4 | 8, 0) => Ok(BmpLayout::Indices(bits.into())),
        (4 | 8, 1 | 2) => Ok(BmpLayout::Runs { is_half: compression == 2 }),
        (16, 0) => Ok(BmpLayout::Words { green: 5 }),
        (24, 0) => Ok(BmpLayout::Bytes(3, bgr)),
        (32, 0) => Ok(BmpLayout::Bytes(4, bgr)),
        (16, 3) if masks[..3] == [0xf800, 0x7e0, 0x1f] => Ok(BmpLayout::Words { green: 6 }),
        (16, 3) if masks[..3] == [0x7c00, 0x3e0, 0x1f] => Ok(BmpLayout::Words { green: 5 }),
        (24, 3) if masks[..3] == [0xff_0000, 0xff00, 0xff] => Ok(BmpLayout::Bytes(3, bgr)),
        (32, 3) => match masks {
            [0xff_0000, 0xff00, 0xff, 0 | 0xff00_0000] | [0, 0, 0, 0] => {
                Ok(BmpLayout::Bytes(4, bgr))
            }
            [0xff00_0000, 0xff_0000, 0xff00, 0 | 0xff] => Ok(BmpLayout::Bytes(4, [3, 2, 1])),
            [0xff00_0000, 0xff00, 0xff, 0 | 0xff_0000] => Ok(BmpLayout::Bytes(4, [3, 1, 0])),
            [0xff, 0xff00, 0xff_0000, 0xff00_0000] => Ok(BmpLayout::Bytes(4, [0, 1, 2])),
            _ => Err("is a BMP with bit fields that aren't read".into()),
        },
        (16 | 24, 3) => Err("is a BMP with bit fields that aren't read".into()),
        (1 | 4 | 8 | 16 | 24 | 32, _) => {
            Err(format!("is a BMP of {bits} bits with compression {compression}, which isn't read"))
        }
        _ => Err(format!("is a BMP of {bits} bits a pixel, which isn't read")),
    }
}

/// The colour of every index.
fn colours_of(entries: &[u8], entry: usize, colours: usize, bits: u16) -> Vec<[u8; 3]> {
    let mut palette = vec![[0; 3]; 256];
    for (colour, entry) in palette.iter_mut().zip(entries.chunks_exact(entry)) {
        *colour = [entry[2], entry[1], entry[0]];
    }
    let is_scale = |last: usize| {
        let levels = (0..colours).map(|i| (i * last / (colours - 1).max(1)) as u8);
        entries.len() == entry * colours && levels.zip(&palette).all(|(grey, c)| *c == [grey; 3])
    };
    if bits == 1 && colours <= 2 && is_scale(255 * (colours - 1)) {
        palette[1] = [255; 3];
    } else if bits == 8 && colours > 2 && is_scale(colours - 1) {
        palette = (0..=255).map(|grey| [grey; 3]).collect();
    }
    palette
}

/// Runs of indices. All of a picture must be there or skipped, up to the end of a row at least.
struct Runs<'a> {
    bytes: &'a [u8],
    at: usize,
    width: usize,
    is_half: bool,
}

impl Runs<'_> {
    fn byte(&mut self) -> Decoded<u8> {
        let byte = self.bytes.get(self.at).copied();
        self.at += 1;
        byte.ok_or_else(|| "is a truncated BMP: its runs end before its last row".into())
    }

    fn unpack(&mut self, total: usize) -> Decoded<Vec<u8>> {
        let mut out: Vec<u8> = Vec::new();
        // How far the row has come, which runs don't go beyond; pixels that are counted by themselves do.
        let mut x = 0;
        while out.len() < total {
            match (self.byte()?, self.byte()?) {
                (0, 0) => {
                    out.resize(out.len().next_multiple_of(self.width), 0);
                    x = 0;
                }
                (0, 1) => break,
                (0, 2) => {
                    let (right, up) = (usize::from(self.byte()?), usize::from(self.byte()?));
                    let end = total.min(out.len() + right + up * self.width);
                    out.resize(end, 0);
                    x = out.len() % self.width;
                }
                (0, count) => {
                    self.pixels(usize::from(count).min(total - out.len()), &mut out)?;
                    x += usize::from(count);
                }
                (count, value) => {
                    let count = usize::from(count).min(self.width.saturating_sub(x));
                    let values = if self.is_half { [value >> 4, value & 15] } else { [value; 2] };
                    out.extend(values.iter().cycle().take(count));
                    x += count;
                }
            }
        }
        if out.len() < total {
            return Err("is a truncated BMP: its runs end before its last row".into());
        }
        Ok(out)
    }

    /// Pixels one by one, filled up to a multiple of two bytes of the file.
    fn pixels(&mut self, count: usize, out: &mut Vec<u8>) -> Decoded<()> {
        if self.is_half {
            for i in 0..count.div_ceil(2) {
                let byte = self.byte()?;
                out.push(byte >> 4);
                if 2 * i + 1 < count {
                    out.push(byte & 15);
                }
            }
        } else {
            for _ in 0..count {
                let byte = self.byte()?;
                out.push(byte);
            }
        }
        self.at = self.at.next_multiple_of(2);
        Ok(())
    }
}

fn word(bytes: &[u8], at: usize) -> Decoded<u16> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk::<2>());
    let found = found.ok_or("is a truncated BMP: it ends inside its header")?;
    Ok(u16::from_le_bytes(*found))
}

fn long(bytes: &[u8], at: usize) -> Decoded<u32> {
    Ok(u32::from(word(bytes, at)?) | u32::from(word(bytes, at + 2)?) << 16)
}
