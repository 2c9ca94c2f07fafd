//! The chunks of a PNG file, and which files PIL refuses for them.

use super::{Decoded, SIGNATURE};
use png::ColorType;

/// What IHDR says.
#[derive(Clone, Copy)]
pub(super) struct Header {
    pub width: usize,
    pub height: usize,
    /// Bits a sample.
    pub depth: usize,
    pub colour: ColorType,
    interlaced: bool,
}

/// Where in the image its first frame lies.
pub(super) struct FrameArea {
    pub left: usize,
    pub top: usize,
    pub width: usize,
    pub height: usize,
}

/// What pixels depend on.
pub(super) struct Chunks<'a> {
    pub header: Header,
    /// RGB entries; empty without indices.
    pub palette: &'a [u8],
    pub area: FrameArea,
    /// Exif data.
    pub exif: Option<&'a [u8]>,
    /// Compressed image data, piece by piece.
    data: Vec<&'a [u8]>,
}

impl<'a> Chunks<'a> {
    /// Reads the chunks of a file of at most `max_pixels`. Checksums count up to the image data, as
    /// PIL's do; behind them chunks must be whole, but for the last.
    pub(super) fn read(bytes: &'a [u8], max_pixels: usize) -> Decoded<Chunks<'a>> {
        let Some(rest) = bytes.strip_prefix(SIGNATURE) else {
            return corrupt("its first eight bytes aren't a PNG's");
        };
        if rest.get(4..8) != Some(b"IHDR") {
            return corrupt("it doesn't begin with a header");
        }
        let mut stream = ChunkReader { rest };
        let mut header = None;
        let mut seen = SeenChunks::default();
        loop {
            let Some((name, length)) = stream.next() else {
                return Err("is a truncated or corrupt PNG: no image data were found".into());
            };
            match &name {
                b"IDAT" => {
                    let Some(header) = header else {
                        return corrupt("it has no header");
                    };
                    let data = stream.data(length);
                    return seen.finish(header, data, stream);
                }
                b"IEND" | b"fdAT" => return corrupt("it holds no image data"),
                _ => {}
            }
            let data = stream.take(length)?;
            if stream.checksum() != Some(checksum(name, data)) {
                return corrupt(&format!("the checksum of {} is wrong", text(name)));
            }
            match &name {
                b"IHDR" if header.is_some() => return corrupt("it holds two headers"),
                b"IHDR" => header = Some(Header::parse(data, max_pixels)?),
                _ => seen.chunk(name, data, header.as_ref())?,
            }
        }
    }

    /// A file of the image data alone, without checksums.
    pub(super) fn essence(&self) -> Vec<u8> {
        let Header { depth, colour, interlaced, .. } = self.header;
        let total: usize = self.data.iter().map(|piece| piece.len() + 12).sum();
        let mut file = Vec::with_capacity(SIGNATURE.len() + total + 37);
        let mut chunk = |name: &[u8; 4], data: &[u8]| {
            // No longer than the chunk that it came from, whose length has four bytes.
            file.extend((data.len() as u32).to_be_bytes());
            file.extend(name);
            file.extend(data);
            file.extend([0; 4]);
        };
        let mut header = [0; 13];
        header[..4].copy_from_slice(&(self.area.width as u32).to_be_bytes());
        header[4..8].copy_from_slice(&(self.area.height as u32).to_be_bytes());
        header[8..].copy_from_slice(&[depth as u8, colour as u8, 0, 0, u8::from(interlaced)]);
        chunk(b"IHDR", &header);
        self.data.iter().for_each(|piece| chunk(b"IDAT", piece));
        chunk(b"IEND", &[]);
        file.splice(..0, SIGNATURE.iter().copied());
        file
    }
}

impl Header {
    fn parse(data: &[u8], max_pixels: usize) -> Decoded<Header> {
        let Some((header, _)) = data.split_first_chunk::<13>() else {
            return corrupt("its header is too short");
        };
        let (width, height) = (word(header, 0) as usize, word(header, 4) as usize);
        let [depth, colour, _, filter, interlace] = [8, 9, 10, 11, 12].map(|at| header[at]);
        let colour = match (colour, depth) {
            (0, 1 | 2 | 4 | 8 | 16) => ColorType::Grayscale,
            (2, 8 | 16) => ColorType::Rgb,
            (3, 1 | 2 | 4 | 8) => ColorType::Indexed,
            (4, 8 | 16) => ColorType::GrayscaleAlpha,
            (6, 8 | 16) => ColorType::Rgba,
            _ => return corrupt(&format!("there is no colour type {colour} of {depth} bits")),
        };
        if width == 0 || height == 0 {
            return corrupt("its header gives it no height or no width");
        }
        if width.checked_mul(height).is_none_or(|pixels| pixels > max_pixels) {
            return Err(format!("is refused: a PNG of {width}×{height} pixels"));
        }
        if filter != 0 {
            return corrupt(&format!("there is no filter method {filter}"));
        }
        Ok(Header { width, height, depth: depth.into(), colour, interlaced: interlace != 0 })
    }
}

/// What chunks beside the header and the image data leave behind.
#[derive(Default)]
struct SeenChunks<'a> {
    palette: Option<&'a [u8]>,
    area: Option<FrameArea>,
    /// Frames that acTL announces.
    frames: Option<u32>,
    /// Number of the last fcTL or fdAT.
    sequence: Option<u32>,
    exif: Option<&'a [u8]>,
}

impl<'a> SeenChunks<'a> {
    /// Takes a chunk in, or refuses it where PIL does.
    fn chunk(&mut self, name: [u8; 4], data: &'a [u8], header: Option<&Header>) -> Decoded<()> {
        let colour = header.map(|header| header.colour);
        let least = match (&name, colour) {
            (b"gAMA" | b"fdAT", _) => 4,
            (b"cHRM", _) => 32,
            (b"sRGB", _) => 1,
            (b"pHYs", _) => 9,
            (b"acTL", _) => 8,
            (b"fcTL", _) => 26,
            (b"tRNS", Some(ColorType::Grayscale)) => 2,
            (b"tRNS", Some(ColorType::Rgb)) => 6,
            _ => 0,
        };
        if data.len() < least {
            return corrupt(&format!("its {} is too short", text(name)));
        }
        match &name {
            b"PLTE" => {
                if colour == Some(ColorType::Indexed) && data.len() / 3 > 256 {
                    return corrupt("its palette has more than 256 colours");
                }
                self.palette = Some(data);
            }
            b"eXIf" => self.exif = Some(data),
            b"acTL" => {
                // PIL takes a second one as a sign that there is no animation.
                let frames = word(data, 0);
                let possible = self.frames.is_none() && (1..=0x8000_0000).contains(&frames);
                if possible {
                    self.frames = Some(frames);
                } else if self.frames.is_some() {
                    self.frames = None;
                }
            }
            b"fcTL" | b"fdAT" => {
                let number = word(data, 0);
                let expected = match self.sequence.replace(number) {
                    Some(before) => before.checked_add(1),
                    None => (name == *b"fcTL").then_some(0),
                };
                if expected != Some(number) {
                    return corrupt("the frames of its animation are out of order");
                }
                if let (b"fcTL", Some(header)) = (&name, header) {
                    self.area = Some(area(data, header)?);
                }
            }
            b"iCCP" | b"zTXt" => {
                // The byte behind the name, which a zero ends.
                let end = data.iter().position(|byte| *byte == 0);
                let method = match (end, &name) {
                    (Some(end), b"iCCP") => data.get(end + 1).copied(),
                    (Some(end), _) => data.get(end + 1).copied().or(Some(0)),
                    (None, b"iCCP") => data.first().copied(),
                    (None, _) => Some(0),
                };
                if method != Some(0) {
                    return corrupt(&format!("its {} is compressed in an unknown way", text(name)));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads image data, of which the first piece is `first`, and what follows them.
    fn finish(
        mut self,
        header: Header,
        first: &'a [u8],
        mut stream: ChunkReader<'a>,
    ) -> Decoded<Chunks<'a>> {
        let palette = match (header.colour, self.palette) {
            (ColorType::Indexed, None) => return corrupt("it has indices, but no palette"),
            (ColorType::Indexed, Some(palette)) => palette,
            _ => &[],
        };
        let whole = FrameArea { left: 0, top: 0, width: header.width, height: header.height };
        // An fcTL before the image data makes them the first frame; without one they are an image apart.
        let (apart, area) = (self.area.is_none(), self.area.take().unwrap_or(whole));
        let is_part = (area.width, area.height) != (header.width, header.height);
        if is_part && (header.interlaced || area.width == 0 || area.height == 0) {
            return Err("is a PNG whose first frame is empty, or a part of an interlaced image; \
                        neither is read"
                .into());
        }
        let frames = self.frames.map_or(1, |frames| u64::from(frames) + u64::from(apart));
        let mut data = vec![first];
        let mut is_image = true;
        loop {
            stream.checksum();
            let Some((name, length)) = stream.next() else { break };
            match &name {
                b"IEND" => break,
                b"fcTL" if frames > 1 => break,
                b"IDAT" | b"DDAT" if is_image => data.push(stream.data(length)),
                _ => {
                    is_image = false;
                    let chunk = stream.take(length)?;
                    self.chunk(name, chunk, Some(&header))?;
                }
            }
        }
        Ok(Chunks { header, palette, area, exif: self.exif, data })
    }
}

/// The place of a frame by its fcTL.
fn area(data: &[u8], header: &Header) -> Decoded<FrameArea> {
    let [width, height, left, top] = [4, 8, 12, 16].map(|at| word(data, at) as usize);
    let within = |start: usize, size: usize, whole: usize| {
        start.checked_add(size).is_some_and(|end| end <= whole)
    };
    if !within(left, width, header.width) || !within(top, height, header.height) {
        return corrupt("a frame of its animation lies outside the image");
    }
    Ok(FrameArea { left, top, width, height })
}

/// The rest of a file.
struct ChunkReader<'a> {
    rest: &'a [u8],
}

impl<'a> ChunkReader<'a> {
    /// A chunk's name and length; `None` where there is none.
    fn next(&mut self) -> Option<([u8; 4], usize)> {
        let (head, rest) = self.rest.split_first_chunk::<8>()?;
        let name = [head[4], head[5], head[6], head[7]];
        let is_name = name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        self.rest = rest;
        is_name.then_some((name, word(head, 0) as usize))
    }

    /// The data of a chunk, which must be whole.
    fn take(&mut self, length: usize) -> Decoded<&'a [u8]> {
        match self.data(length) {
            data if data.len() == length => Ok(data),
            _ => Err("is a truncated PNG: it ends inside a chunk".into()),
        }
    }

    /// The data of a chunk, or what is there of them.
    fn data(&mut self, length: usize) -> &'a [u8] {
        let (data, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        data
    }

    fn checksum(&mut self) -> Option<u32> {
        let bytes = self.data(4);
        (bytes.len() == 4).then(|| word(bytes, 0))
    }
}

/// Four bytes, the upper one first; the caller knows that they are there.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn checksum(name: [u8; 4], data: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&name);
    hasher.update(data);
    hasher.finalize()
}

fn text(name: [u8; 4]) -> String {
    String::from_utf8_lossy(&name).into_owned()
}

fn corrupt<T>(why: &str) -> Decoded<T> {
    Err(format!("is a corrupt PNG: {why}"))
}
