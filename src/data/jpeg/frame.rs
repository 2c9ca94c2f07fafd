//! The frame: its components, how scans fill them, and the pixels that they make.

use super::bits::Bits;
use super::inverse::{self, Inverse};
use super::pixels::{Picture, Plane, needed};
use super::scan::{self, Band, Codes, Coefficients, State};
use super::tables::Tables;
use super::{Decoded, byte, corrupt, word};
use crate::cpu::simd::InstructionSet;
use crate::data::Image8;
use crate::data::transform::Area;
use std::ops::Range;

/// A component of the frame.
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
    blocks_down: usize,
    /// Blocks that the chosen area needs.
    columns: Range<usize>,
    rows: Range<usize>,
    /// All coefficients, where several scans add to them.
    blocks: Vec<Coefficients>,
    /// Samples of the needed blocks.
    samples: Vec<u8>,
}

/// What is known of a picture from its header on.
pub(super) struct Frame {
    progressive: bool,
    pub width: usize,
    pub height: usize,
    /// The largest sampling factors.
    across: usize,
    down: usize,
    components: Vec<Component>,
    /// The pixels that are asked for.
    area: Area,
    inverse: Inverse,
    /// Whether one scan held everything, so that samples are there and coefficients aren't.
    is_done: bool,
}

/// What a scan's header says.
struct ScanHeader<'a> {
    /// Its components, by their places in the frame, and their codes.
    chosen: Vec<(usize, Codes<'a>)>,
    band: Band,
    /// Units of coding: MCUs, or the blocks of one component that the image covers.
    columns: usize,
    rows: usize,
}

impl Frame {
    /// Reads a frame's header (SOF); the area is the whole image.
    pub(super) fn parse(segment: &[u8], progressive: bool, max_pixels: usize) -> Decoded<Frame> {
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
        let components = (0..usize::from(count)).map(|i| Component::parse(segment, 6 + 3 * i));
        let mut components: Vec<Component> = components.collect::<Decoded<_>>()?;
        let across = components.iter().map(|component| component.across).max().unwrap_or(1);
        let down = components.iter().map(|component| component.down).max().unwrap_or(1);
        for component in &mut components {
            if across % component.across != 0 || down % component.down != 0 {
                return Err("is a JPEG with sampling factors that don't divide each other".into());
            }
            component.width = (width * component.across).div_ceil(across);
            component.height = (height * component.down).div_ceil(down);
            component.blocks_across = width.div_ceil(8 * across) * component.across;
            component.blocks_down = height.div_ceil(8 * down) * component.down;
        }
        let inverse = inverse::for_set(InstructionSet::best());
        let area = Area { top: 0, left: 0, height, width };
        let is_done = false;
        Ok(Frame { progressive, width, height, across, down, components, area, inverse, is_done })
    }

    pub(super) fn component_count(&self) -> usize {
        self.components.len()
    }

    /// Asks for the pixels of an area, which must lie inside the image.
    pub(super) fn choose(&mut self, area: Area) {
        self.area = area;
        let blocks = |samples: Range<usize>| samples.start / 8..samples.end.div_ceil(8);
        for component in &mut self.components {
            let (across, down) = (self.across / component.across, self.down / component.down);
            let columns = area.left..area.left + area.width;
            let rows = area.top..area.top + area.height;
            component.columns = blocks(needed(columns, across, component.width));
            component.rows = blocks(needed(rows, down, component.height));
        }
    }

    /// Decodes a scan (SOS) whose data begin at `at`; returns where they end. With `at_once`, a scan that holds
    /// everything is decoded to samples; nothing is returned if another one comes behind it.
    pub(super) fn scan(
        &mut self,
        header: &[u8],
        tables: &Tables,
        (bytes, at): (&[u8], usize),
        at_once: bool,
    ) -> Decoded<Option<usize>> {
        if self.is_done {
            return Ok(None);
        }
        let scan = self.scan_header(header, tables)?;
        let is_everything = scan.chosen.len() == self.components.len();
        self.is_done = at_once && !self.progressive && is_everything;
        for &(index, _) in &scan.chosen {
            self.components[index].begin(tables, !self.is_done)?;
        }
        let mut bits = Bits::new(bytes, at);
        let interval = tables.restart_interval;
        if self.is_done {
            self.decode_to_samples(&scan, interval, &mut bits)?;
        } else {
            self.decode_to_coefficients(&scan, interval, &mut bits)?;
        }
        Ok(Some(bits.position()))
    }

    fn scan_header<'a>(&self, header: &[u8], tables: &'a Tables) -> Decoded<ScanHeader<'a>> {
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
        // One component alone has its blocks row by row, and only those that the image covers.
        let (columns, rows) = match chosen[..] {
            [(index, _)] => {
                let component = &self.components[index];
                (component.width.div_ceil(8), component.height.div_ceil(8))
            }
            _ => (self.width.div_ceil(8 * self.across), self.height.div_ceil(8 * self.down)),
        };
        Ok(ScanHeader { chosen, band, columns, rows })
    }

    /// The coefficients that a scan's header announces.
    fn band(&self, header: &[u8], components: usize) -> Decoded<Band> {
        let tail = 1 + 2 * components;
        let (first, last) =
            (usize::from(byte(header, tail)?), usize::from(byte(header, tail + 1)?));
        let (high, low) = (byte(header, tail + 2)? >> 4, byte(header, tail + 2)? & 15);
        if !self.progressive {
            return Ok(scan::SEQUENTIAL);
        }
        let possible = if first == 0 { last == 0 } else { last < 64 && components == 1 };
        let refines_one_bit = high == 0 || high == low + 1;
        if !possible || last < first || low > 13 || !refines_one_bit {
            return corrupt("a progressive scan has impossible parameters");
        }
        let (high, low) = (u32::from(high), u32::from(low));
        Ok(Band { progressive: true, first, last, high, low })
    }

    fn decode_to_coefficients(
        &mut self,
        scan: &ScanHeader<'_>,
        interval: usize,
        bits: &mut Bits<'_>,
    ) -> Decoded<()> {
        let mut state = State::default();
        for unit in 0..scan.columns * scan.rows {
            if bits.restarts(unit, interval)? {
                state = State::default();
            }
            let (row, column) = (unit / scan.columns, unit % scan.columns);
            for (slot, &(index, codes)) in scan.chosen.iter().enumerate() {
                let component = &mut self.components[index];
                let (across, down) = component.unit(scan.chosen.len());
                for y in row * down..(row + 1) * down {
                    for x in column * across..(column + 1) * across {
                        let block = &mut component.blocks[y * component.blocks_across + x];
                        scan::block(bits, scan.band, codes, &mut state, slot, block)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Blocks that aren't needed are judged all the same.
    fn decode_to_samples(
        &mut self,
        scan: &ScanHeader<'_>,
        interval: usize,
        bits: &mut Bits<'_>,
    ) -> Decoded<()> {
        let mut predictions = [0; 4];
        for unit in 0..scan.columns * scan.rows {
            if bits.restarts(unit, interval)? {
                predictions = [0; 4];
            }
            let (row, column) = (unit / scan.columns, unit % scan.columns);
            for (&(index, codes), prediction) in scan.chosen.iter().zip(&mut predictions) {
                let component = &mut self.components[index];
                let (across, down) = component.unit(scan.chosen.len());
                for y in row * down..(row + 1) * down {
                    for x in column * across..(column + 1) * across {
                        if component.columns.contains(&x) && component.rows.contains(&y) {
                            let mut block = [0; 64];
                            let any = scan::sequential_block(bits, codes, prediction, &mut block)?;
                            component.transform(self.inverse, (x, y), &block, any);
                        } else {
                            scan::passed_block(bits, codes, prediction)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The pixels of the area, when all scans are there.
    pub(super) fn image(self, tables: &Tables) -> Decoded<Image8> {
        let Frame { mut components, area, inverse, is_done, .. } = self;
        let ids: Vec<u8> = components.iter().map(|component| component.id).collect();
        let mut planes = Vec::new();
        for component in &mut components {
            if component.quantisation.is_none() {
                return corrupt("a component has no scan");
            }
            if !is_done {
                component.transform_all(inverse);
            }
            planes.push(component.plane(self.across, self.down));
        }
        let picture = Picture { planes: &planes, colour: tables.colour(&ids), area };
        Ok(Image8 { height: area.height, width: area.width, pixels: picture.pixels() })
    }
}

impl Component {
    /// Reads what the frame's header says of a component at `at`.
    fn parse(segment: &[u8], at: usize) -> Decoded<Component> {
        let (id, factors) = (byte(segment, at)?, byte(segment, at + 1)?);
        let (across, down) = (usize::from(factors >> 4), usize::from(factors & 15));
        let table = usize::from(byte(segment, at + 2)?);
        if !(1..=4).contains(&across) || !(1..=4).contains(&down) || table > 3 {
            return corrupt("a component of the frame is impossible");
        }
        Ok(Component {
            id,
            across,
            down,
            table,
            quantisation: None,
            width: 0,
            height: 0,
            blocks_across: 0,
            blocks_down: 0,
            columns: 0..0,
            rows: 0..0,
            blocks: Vec::new(),
            samples: Vec::new(),
        })
    }

    /// Blocks of a unit of a scan of so many components.
    fn unit(&self, components: usize) -> (usize, usize) {
        if components == 1 { (1, 1) } else { (self.across, self.down) }
    }

    /// Before a scan: takes the quantisation table and makes room, if it is the first.
    fn begin(&mut self, tables: &Tables, keeps_coefficients: bool) -> Decoded<()> {
        if self.quantisation.is_some() {
            return Ok(());
        }
        let Some(table) = tables.quantisation[self.table] else {
            return corrupt("a scan uses a quantisation table that isn't there");
        };
        self.quantisation = Some(table);
        if keeps_coefficients {
            self.blocks = vec![[0; 64]; self.blocks_across * self.blocks_down];
        } else {
            self.make_room();
        }
        Ok(())
    }

    fn make_room(&mut self) {
        self.samples = vec![0; self.columns.len() * self.rows.len() * 64];
    }

    /// Samples of block `(x, y)`, one of those that are needed; whether `any` but its first coefficient isn't 0.
    fn transform(
        &mut self,
        inverse: Inverse,
        (x, y): (usize, usize),
        block: &Coefficients,
        any: bool,
    ) {
        let Some(quantisation) = &self.quantisation else { return };
        let stride = self.columns.len() * 8;
        let at = (y - self.rows.start) * 8 * stride + (x - self.columns.start) * 8;
        let out = &mut self.samples[at..at + 7 * stride + 8];
        if any {
            inverse(block, quantisation, out, stride);
        } else {
            inverse::flat(block[0], quantisation, out, stride);
        }
    }

    /// The same of all blocks, and frees their coefficients.
    fn transform_all(&mut self, inverse: Inverse) {
        self.make_room();
        let blocks = std::mem::take(&mut self.blocks);
        for y in self.rows.clone() {
            for x in self.columns.clone() {
                let block = &blocks[y * self.blocks_across + x];
                let any = block[1..].iter().any(|&coefficient| coefficient != 0);
                self.transform(inverse, (x, y), block, any);
            }
        }
    }

    /// The samples with their place, in a frame of these largest factors.
    fn plane(&mut self, across: usize, down: usize) -> Plane {
        Plane {
            width: self.width,
            height: self.height,
            left: self.columns.start * 8,
            top: self.rows.start * 8,
            stride: self.columns.len() * 8,
            samples: std::mem::take(&mut self.samples),
            across: across / self.across,
            down: down / self.down,
        }
    }
}
