//! The bits of entropy-coded data, and Huffman codes (T.81, annexes C and F).

/// The scan's data end, or a marker stands, before its last block.
pub(super) const CUT: &str = "is a truncated JPEG: its entropy-coded data end too early";
/// A code that the table doesn't have, or one that leads outside a block.
pub(super) const CORRUPT: &str = "is a corrupt JPEG: its entropy-coded data make no sense";

/// Reads bits, most significant first, up to the next marker.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    /// Bits that were read ahead, the next one on top; zeros below.
    ahead: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8], at: usize) -> Self {
        Bits { data, at, ahead: 0, count: 0 }
    }

    /// Where reading goes on: behind the last whole byte that was taken in.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Forgets what is left of the segment, takes in the restart marker `number` (0 to 7).
    pub(super) fn restart(&mut self, number: u8) -> Result<(), &'static str> {
        (self.ahead, self.count) = (0, 0);
        // 0xff may be repeated before a marker.
        while self.data.get(self.at..self.at + 2) == Some(&[0xff, 0xff]) {
            self.at += 1;
        }
        if self.data.get(self.at..self.at + 2) != Some(&[0xff, 0xd0 + number]) {
            return Err("is a corrupt JPEG: a restart marker is missing");
        }
        self.at += 2;
        Ok(())
    }

    /// Reads ahead to more than 56 bits, or to the next marker.
    fn fill(&mut self) {
        while self.count <= 56 {
            let byte = match self.data.get(self.at) {
                // A 0xff that is data is followed by 0.
                Some(0xff) if self.data.get(self.at + 1) == Some(&0) => {
                    self.at += 2;
                    0xff
                }
                Some(&byte) if byte != 0xff => {
                    self.at += 1;
                    byte
                }
                _ => return,
            };
            self.ahead |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    fn skip(&mut self, bits: u32) -> Result<(), &'static str> {
        if bits > self.count {
            return Err(CUT);
        }
        self.ahead <<= bits;
        self.count -= bits;
        Ok(())
    }

    /// The next `bits` (at most 16) as a number.
    pub(super) fn take(&mut self, bits: u32) -> Result<u32, &'static str> {
        if bits == 0 {
            return Ok(0);
        }
        if self.count < bits {
            self.fill();
        }
        let value = (self.ahead >> (64 - bits)) as u32;
        self.skip(bits)?;
        Ok(value)
    }

    /// A value of `size` bits (at most 15) whose sign is its first bit: EXTEND of T.81, F.2.2.1.
    pub(super) fn signed(&mut self, size: u32) -> Result<i32, &'static str> {
        let value = self.take(size)? as i32;
        let negative = size > 0 && value < 1 << (size - 1);
        Ok(if negative { value - (1 << size) + 1 } else { value })
    }

    /// The next symbol of a code.
    pub(super) fn symbol(&mut self, code: &Huffman) -> Result<u8, &'static str> {
        if self.count < 16 {
            self.fill();
        }
        let next = (self.ahead >> 48) as u32;
        let (symbol, length) = code.short[(next >> (16 - SHORT)) as usize];
        if length > 0 {
            self.skip(u32::from(length))?;
            return Ok(symbol);
        }
        for length in SHORT + 1..=16 {
            if next < code.end[length as usize] {
                let index = code.offset[length as usize] + (next >> (16 - length)) as i32;
                self.skip(length)?;
                return Ok(code.symbols[index as usize]);
            }
        }
        Err(if self.count < 16 { CUT } else { CORRUPT })
    }
}

/// Codes up to this length are looked up in one step.
const SHORT: u32 = 9;

/// A canonical Huffman code.
#[derive(Clone)]
pub(super) struct Huffman {
    symbols: Vec<u8>,
    /// Symbol and length of the code that a bit pattern starts with; length 0: a longer code.
    short: Vec<(u8, u8)>,
    /// For each length, the first 16-bit pattern behind its codes.
    end: [u32; 17],
    /// For each length, the index of its first symbol less its first code.
    offset: [i32; 17],
}

impl Huffman {
    /// From the numbers of codes of lengths 1 to 16 and their symbols, or nothing if there are no
    /// such codes.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Huffman> {
        let mut table = Huffman {
            symbols: symbols.to_vec(),
            short: vec![(0, 0); 1 << SHORT],
            end: [0; 17],
            offset: [0; 17],
        };
        let (mut code, mut index) = (0u32, 0usize);
        for (length, &count) in (1u32..).zip(counts) {
            table.offset[length as usize] = index as i32 - code as i32;
            for &symbol in symbols.get(index..index + usize::from(count))? {
                if code >= 1 << length {
                    return None;
                }
                if length <= SHORT {
                    let first = (code << (SHORT - length)) as usize;
                    let patterns = 1 << (SHORT - length);
                    table.short[first..first + patterns].fill((symbol, length as u8));
                }
                code += 1;
            }
            index += usize::from(count);
            table.end[length as usize] = code << (16 - length);
            code <<= 1;
        }
        (index == symbols.len()).then_some(table)
    }
}
