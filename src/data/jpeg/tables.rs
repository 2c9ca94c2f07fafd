//! What marker segments leave behind for scans: quantisation and Huffman tables, the colours.

use super::bits::Huffman;
use super::{ColourSpace, Decoded, byte, corrupt, scan, word};

/// What marker segments leave behind for scans.
#[derive(Default)]
pub(super) struct Tables {
    pub quantisation: [Option<[u16; 64]>; 4],
    pub dc: [Option<Huffman>; 4],
    pub ac: [Option<Huffman>; 4],
    pub restart_interval: usize,
    pub jfif: bool,
    /// The transform that an Adobe segment names.
    pub adobe: Option<u8>,
}

impl Tables {
    /// Quantisation tables (DQT): 8 or 16 bits a value.
    pub(super) fn read_quantisation(&mut self, segment: &[u8]) -> Decoded<()> {
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
    pub(super) fn read_huffman(&mut self, segment: &[u8]) -> Decoded<()> {
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

    /// How libjpeg tells, by the components' ids among others.
    pub(super) fn colour(&self, ids: &[u8]) -> ColourSpace {
        match (ids, self.adobe) {
            ([_], _) => ColourSpace::Grey,
            ([_, _, _], Some(0)) if !self.jfif => ColourSpace::Rgb,
            (b"RGB", None) if !self.jfif => ColourSpace::Rgb,
            ([_, _, _], _) => ColourSpace::Ycc,
            (_, None | Some(0)) => ColourSpace::Cmyk,
            _ => ColourSpace::Ycck,
        }
    }
}
