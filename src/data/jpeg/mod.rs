//! JPEG, decoded to the very pixels that libjpeg-turbo's default gives, and so PIL's.
//!
//! Sequential and progressive files of 8 bits, grey, colour or CMYK, with any sampling factors that
//! divide each other. ARCHITECTURE.md says why no crate does this.
//!
//! A scan's data become coefficients (`bits`, `scan`), coefficients become pixels (`pixels`). Names
//! in parentheses are those of the standard, ITU-T T.81.

mod bits;
mod pixels;
mod scan;

use super::Image8;
use bits::{Bits, Huffman};
use pixels::Plane;
use scan::{Band, Codes, Coefficients, State};

/// Scans that are decoded before a file counts as hostile; encoders make about ten.
const MAX_SCANS: usize = 500;

type Decoded<T> = std::result::Result<T, String>;

/// How pixels are coded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ColourSpace {
    Grey,
    Rgb,
    Ycc,
    Cmyk,
    /// CMYK whose inverted colours are coded as luma and chroma.
    Ycck,
}

/// A component of the frame and its coefficients.
struct Component {
    id: u8,
    /// Sampling factors (H, V): samples of an MCU in units of 8.
    across: usize,
    down: usize,
    /// Number of its quantisation table, and the table as it was at its first scan.
    table: usize,
    quantisation: Option<[u16; 64]>,
    /// Samples that the image covers.
    width: usize,
    height: usize,
    /// Blocks, whole MCUs.
    blocks_across: usize,
    blocks: Vec<Coefficients>,
}

struct Frame {
    progressive: bool,
    width: usize,
    height: usize,
    /// The largest sampling factors.
    across: usize,
    down: usize,
    components: Vec<Component>,
}

/// What marker segments leave behind for scans.
#[derive(Default)]
struct Tables {
    quantisation: [Option<[u16; 64]>; 4],
    dc: [Option<Huffman>; 4],
    ac: [Option<Huffman>; 4],
    restart_interval: usize,
    jfif: bool,
    /// The transform that an Adobe segment names.
    adobe: Option<u8>,
}

/// Decodes a whole file of at most `max_pixels`.
///
/// # Errors
/// In words that follow the file's name: truncated, corrupt, of a kind that isn't read, too large.
pub(super) fn decode(bytes: &[u8], max_pixels: usize) -> Decoded<Image8> {
    let mut tables = Tables::default();
    let mut frame: Option<Frame> = None;
    let (mut at, mut scans) = (0, 0);
    loop {
        let marker = next_marker(bytes, &mut at)?;
        match marker {
            0xd8 if at > 2 => return corrupt("it begins twice"),
            // Start of the image; TEM and restarts out of place: markers without a segment.
            0xd8 | 0x01 | 0xd0..=0xd7 => continue,
            0xd9 => break,
            _ => {}
        }
        let segment = segment(bytes, &mut at)?;
        match marker {
            0xc0..=0xc2 if frame.is_some() => return corrupt("it holds two frames"),
            0xc0..=0xc2 => frame = Some(Frame::parse(segment, marker == 0xc2, max_pixels)?),
            0xc4 => tables.huffman(segment)?,
            0xdb => tables.quantisation(segment)?,
            0xdd => tables.restart_interval = usize::from(word(segment, 0)?),
            0xe0 => tables.jfif |= segment.starts_with(b"JFIF\0"),
            0xee if segment.starts_with(b"Adobe") => tables.adobe = segment.get(11).copied(),
            0xda => {
                scans += 1;
                if scans > MAX_SCANS {
                    return Err(format!("is refused: a JPEG of more than {MAX_SCANS} scans"));
                }
                let Some(frame) = &mut frame else {
                    return corrupt("a scan comes before the frame");
                };
                at = frame.scan(segment, &tables, bytes, at)?;
            }
            0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf | 0xde => {
                return Err("is a JPEG of a kind that isn't read (lossless, hierarchical or \
                            arithmetic coding)"
                    .into());
            }
            _ => {}
        }
    }
    let Some(frame) = frame else { return corrupt("it holds no frame") };
    frame.image(&tables)
}

fn corrupt<T>(why: &str) -> Decoded<T> {
    Err(format!("is a corrupt JPEG: {why}"))
}

/// Goes past the next marker and returns its second byte. Bytes before it are skipped, as libjpeg
/// does.
fn next_marker(bytes: &[u8], at: &mut usize) -> Decoded<u8> {
    while let Some(&[first, second]) = bytes.get(*at..*at + 2) {
        // 0xff may be repeated before a marker; 0xff and 0 are data.
        let is_marker = first == 0xff && second != 0xff && second != 0;
        *at += if is_marker { 2 } else { 1 };
        if is_marker {
            return Ok(second);
        }
    }
    Err("is a truncated JPEG: its end-of-image marker is missing".into())
}

/// Goes past a segment and returns what follows its length.
fn segment<'a>(bytes: &'a [u8], at: &mut usize) -> Decoded<&'a [u8]> {
    let rest = &bytes[*at..];
    let length =
        rest.first_chunk::<2>().map_or(2, |&length| usize::from(u16::from_be_bytes(length)));
    if length < 2 {
        return corrupt("a segment has an impossible length");
    }
    *at += length;
    rest.get(2..length).ok_or_else(|| "is a truncated JPEG: it ends inside a segment".into())
}

fn byte(segment: &[u8], at: usize) -> Decoded<u8> {
    segment.get(at).copied().ok_or_else(|| "is a corrupt JPEG: a segment is too short".into())
}

fn word(segment: &[u8], at: usize) -> Decoded<u16> {
    Ok(u16::from_be_bytes([byte(segment, at)?, byte(segment, at + 1)?]))
}

impl Tables {
    /// Quantisation tables (DQT): 8 or 16 bits a value.
    fn quantisation(&mut self, segment: &[u8]) -> Decoded<()> {
        let mut at = 0;
        while at < segment.len() {
            let (wide, number) = (segment[at] >> 4, usize::from(segment[at] & 15));
            if wide > 1 || number > 3 {
                return corrupt("a quantisation table has an impossible number");
            }
            at += 1;
            let mut table = [0; 64];
            for k in 0..64 {
                table[scan::place(k)] = if wide == 1 {
                    word(segment, at + 2 * k)?
                } else {
                    u16::from(byte(segment, at + k)?)
                };
            }
            at += if wide == 1 { 128 } else { 64 };
            self.quantisation[number] = Some(table);
        }
        Ok(())
    }

    /// Huffman tables (DHT).
    fn huffman(&mut self, segment: &[u8]) -> Decoded<()> {
        let mut rest = segment;
        while let Some((&head, tail)) = rest.split_first() {
            let (class, number) = (head >> 4, usize::from(head & 15));
            let table = tail.split_first_chunk::<16>().and_then(|(counts, tail)| {
                let total = counts.iter().map(|&count| usize::from(count)).sum();
                rest = tail.get(total..)?;
                Huffman::new(counts, &tail[..total])
            });
            if table.is_none() || class > 1 || number > 3 {
                return corrupt("a Huffman table is impossible");
            }
            let tables = if class == 0 { &mut self.dc } else { &mut self.ac };
            tables[number] = table;
        }
        Ok(())
    }

    /// How libjpeg tells.
    fn colour(&self, components: &[Component]) -> ColourSpace {
        let ids: Vec<u8> = components.iter().map(|component| component.id).collect();
        match (ids.as_slice(), self.adobe) {
            ([_], _) => ColourSpace::Grey,
            ([_, _, _], Some(0)) if !self.jfif => ColourSpace::Rgb,
            (b"RGB", None) if !self.jfif => ColourSpace::Rgb,
            ([_, _, _], _) => ColourSpace::Ycc,
            (_, None | Some(0)) => ColourSpace::Cmyk,
            _ => ColourSpace::Ycck,
        }
    }
}

impl Frame {
    /// Reads a frame's header (SOF).
    fn parse(segment: &[u8], progressive: bool, max_pixels: usize) -> Decoded<Frame> {
        let precision = byte(segment, 0)?;
        let (height, width) = (usize::from(word(segment, 1)?), usize::from(word(segment, 3)?));
        if precision != 8 {
            return Err(format!("is a JPEG of {precision} bits a sample; 8 are read"));
        }
        if height == 0 || width == 0 {
            return Err("is a JPEG whose header gives it no height or no width".into());
        }
        if height * width > max_pixels {
            return Err(format!("is refused: a JPEG of {width}×{height} pixels"));
        }
        let count = byte(segment, 5)?;
        if ![1, 3, 4].contains(&count) {
            return Err(format!("is a JPEG of {count} components; 1, 3 and 4 are read"));
        }
        let mut components = Vec::new();
        for i in 0..usize::from(count) {
            let (id, factors) = (byte(segment, 6 + 3 * i)?, byte(segment, 7 + 3 * i)?);
            let (across, down) = (usize::from(factors >> 4), usize::from(factors & 15));
            let table = usize::from(byte(segment, 8 + 3 * i)?);
            if !(1..=4).contains(&across) || !(1..=4).contains(&down) || table > 3 {
                return corrupt("a component of the frame is impossible");
            }
            components.push(Component {
                id,
                across,
                down,
                table,
                quantisation: None,
                width: 0,
                height: 0,
                blocks_across: 0,
                blocks: Vec::new(),
            });
        }
        let across = components.iter().map(|component| component.across).max().unwrap_or(1);
        let down = components.iter().map(|component| component.down).max().unwrap_or(1);
        for component in &mut components {
            if across % component.across != 0 || down % component.down != 0 {
                return Err("is a JPEG with sampling factors that don't divide each other".into());
            }
            component.width = (width * component.across).div_ceil(across);
            component.height = (height * component.down).div_ceil(down);
            component.blocks_across = width.div_ceil(8 * across) * component.across;
        }
        Ok(Frame { progressive, width, height, across, down, components })
    }

    /// Decodes a scan (SOS) whose data begin at `at`; returns where they end.
    fn scan(&mut self, header: &[u8], tables: &Tables, bytes: &[u8], at: usize) -> Decoded<usize> {
        let count = usize::from(byte(header, 0)?);
        if !(1..=self.components.len()).contains(&count) {
            return corrupt("a scan has an impossible number of components");
        }
        let mut chosen: Vec<(usize, Codes<'_>)> = Vec::new();
        for i in 0..count {
            let (id, codes) = (byte(header, 1 + 2 * i)?, byte(header, 2 + 2 * i)?);
            let found = self.components.iter().position(|component| component.id == id);
            let Some(index) = found.filter(|index| chosen.iter().all(|(other, _)| other != index))
            else {
                return corrupt("a scan names a component that the frame doesn't have");
            };
            let (dc, ac) = (usize::from(codes >> 4), usize::from(codes & 15));
            let (Some(dc), Some(ac)) = (tables.dc.get(dc), tables.ac.get(ac)) else {
                return corrupt("a scan names an impossible Huffman table");
            };
            chosen.push((index, Codes { dc: dc.as_ref(), ac: ac.as_ref() }));
        }
        let band = self.band(header, count)?;
        for &(index, _) in &chosen {
            self.components[index].begin(tables, self.height.div_ceil(8 * self.down))?;
        }

        let mut bits = Bits::new(bytes, at);
        let mut state = State::default();
        // One component alone has its blocks row by row, and only those that the image covers.
        let alone = (count == 1).then(|| chosen[0].0);
        let (columns, rows) = match alone {
            Some(index) => {
                let component = &self.components[index];
                (component.width.div_ceil(8), component.height.div_ceil(8))
            }
            None => (self.width.div_ceil(8 * self.across), self.height.div_ceil(8 * self.down)),
        };
        for unit in 0..columns * rows {
            let interval = tables.restart_interval;
            if interval > 0 && unit > 0 && unit.is_multiple_of(interval) {
                bits.restart(((unit / interval - 1) % 8) as u8)?;
                state = State::default();
            }
            let (row, column) = (unit / columns, unit % columns);
            for (slot, &(index, codes)) in chosen.iter().enumerate() {
                let component = &mut self.components[index];
                let (across, down) =
                    if alone.is_some() { (1, 1) } else { (component.across, component.down) };
                for y in row * down..(row + 1) * down {
                    for x in column * across..(column + 1) * across {
                        let block = &mut component.blocks[y * component.blocks_across + x];
                        scan::block(&mut bits, band, codes, &mut state, slot, block)?;
                    }
                }
            }
        }
        Ok(bits.position())
    }

    /// The coefficients that a scan's header announces.
    fn band(&self, header: &[u8], components: usize) -> Decoded<Band> {
        let tail = 1 + 2 * components;
        let (first, last) =
            (usize::from(byte(header, tail)?), usize::from(byte(header, tail + 1)?));
        let (high, low) = (byte(header, tail + 2)? >> 4, byte(header, tail + 2)? & 15);
        if !self.progressive {
            return Ok(Band { progressive: false, first: 0, last: 63, high: 0, low: 0 });
        }
        let possible = if first == 0 { last == 0 } else { last < 64 && components == 1 };
        let refines_one_bit = high == 0 || high == low + 1;
        if !possible || last < first || low > 13 || !refines_one_bit {
            return corrupt("a progressive scan has impossible parameters");
        }
        let (high, low) = (u32::from(high), u32::from(low));
        Ok(Band { progressive: true, first, last, high, low })
    }

    /// The pixels of the finished coefficients.
    fn image(&self, tables: &Tables) -> Decoded<Image8> {
        let colour = tables.colour(&self.components);
        let planes: Vec<Plane> =
            self.components.iter().map(Component::plane).collect::<Decoded<_>>()?;
        let mut out = Image8::black(self.height, self.width);
        // Rows of each component at full width, and a little more.
        let mut rows: Vec<Vec<u8>> =
            self.components.iter().map(|_| vec![0; self.width + 8]).collect();
        for (y, pixels) in out.pixels.chunks_exact_mut(self.width * 3).enumerate() {
            for ((row, plane), component) in rows.iter_mut().zip(&planes).zip(&self.components) {
                let (across, down) = (self.across / component.across, self.down / component.down);
                pixels::upsample(plane, across, down, y, row);
            }
            let pixels = pixels.chunks_exact_mut(3);
            match rows.as_slice() {
                [grey] => {
                    for (pixel, &grey) in pixels.zip(grey) {
                        pixel.fill(grey);
                    }
                }
                [a, b, c] => {
                    for (((pixel, &a), &b), &c) in pixels.zip(a).zip(b).zip(c) {
                        let values = [a, b, c];
                        let is_rgb = colour == ColourSpace::Rgb;
                        let values = if is_rgb { values } else { pixels::ycc_to_rgb(values) };
                        pixel.copy_from_slice(&values);
                    }
                }
                rows => {
                    for (x, pixel) in pixels.enumerate() {
                        let [a, b, c, k] = std::array::from_fn(|i| rows[i][x]);
                        // Files hold inverted ink; YCCK holds it inverted once more.
                        let ink = match colour {
                            ColourSpace::Ycck => pixels::ycc_to_rgb([a, b, c]),
                            _ => [255 - a, 255 - b, 255 - c],
                        };
                        let [c, m, y] = ink;
                        pixel.copy_from_slice(&pixels::cmyk_to_rgb([c, m, y, 255 - k]));
                    }
                }
            }
        }
        Ok(out)
    }
}

impl Component {
    /// Before a scan: takes the quantisation table and makes room, if it is the first.
    fn begin(&mut self, tables: &Tables, mcu_rows: usize) -> Decoded<()> {
        if self.quantisation.is_none() {
            let Some(table) = tables.quantisation[self.table] else {
                return corrupt("a scan uses a quantisation table that isn't there");
            };
            self.quantisation = Some(table);
            self.blocks = vec![[0; 64]; self.blocks_across * mcu_rows * self.down];
        }
        Ok(())
    }

    /// Dequantised, transformed samples.
    fn plane(&self) -> Decoded<Plane> {
        let Some(quantisation) = &self.quantisation else {
            return corrupt("a component has no scan");
        };
        let (width, height) = (self.width, self.height);
        let stride = self.blocks_across * 8;
        let mut samples = vec![0; stride * height.div_ceil(8) * 8];
        let rows = self.blocks.chunks_exact(self.blocks_across);
        for (blocks, samples) in rows.zip(samples.chunks_exact_mut(stride * 8)) {
            for (x, block) in blocks.iter().take(width.div_ceil(8)).enumerate() {
                pixels::samples(block, quantisation, &mut samples[x * 8..], stride);
            }
        }
        Ok(Plane { width, height, stride, samples })
    }
}
