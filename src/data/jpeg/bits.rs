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
    fn restart(&mut self, number: u8) -> Result<(), &'static str> {
        const MISSING: &str = "is a corrupt JPEG: a restart marker is missing";
        self.fill();
        // A last byte is filled up; whole ones are damage.
        if self.count >= 8 {
            return Err(MISSING);
        }
        (self.ahead, self.count) = (0, 0);
        // 0xff may be repeated before a marker.
        while self.data.get(self.at..self.at + 2) == Some(&[0xff, 0xff]) {
            self.at += 1;
        }
        if self.data.get(self.at..self.at + 2) != Some(&[0xff, 0xd0 + number]) {
            return Err(MISSING);
        }
        self.at += 2;
        Ok(())
    }

    /// At coding unit `unit`: takes in the restart marker that stands before it, if one does; 0 is no `interval`.
    #[inline(always)]
    pub(super) fn restarts(&mut self, unit: usize, interval: usize) -> Result<bool, &'static str> {
        let is_due = interval > 0 && unit > 0 && unit.is_multiple_of(interval);
        if is_due {
            self.restart(((unit / interval - 1) % 8) as u8)?;
        }
        Ok(is_due)
    }

    /// Reads ahead to at least 56 bits, or to the next marker.
    #[inline(always)]
    fn fill(&mut self) {
        if let Some(next) = self.data.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let next = u64::from_be_bytes(*next);
            // A byte of 0xff borrows from, and keeps, its upper bit.
            let marked = (!next).wrapping_sub(0x0101_0101_0101_0101) & next & 0x8080_8080_8080_8080;
            if marked == 0 {
                // Bits below the last whole byte are the file's too: they come again, and are the same.
                self.ahead |= next >> self.count;
                let bytes = (63 - self.count) / 8;
                self.at += bytes as usize;
                self.count += 8 * bytes;
                return;
            }
        }
        self.fill_by_bytes();
    }

    #[cold]
    fn fill_by_bytes(&mut self) {
        while self.count < 56 {
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

    /// Reads ahead enough for a code and its value, if they are there.
    #[inline(always)]
    fn fill_for_value(&mut self) {
        if self.count < 32 {
            self.fill();
        }
    }

    /// The next AC symbol with its value, bits of which are looked up together where they are few.
    #[inline(always)]
    pub(super) fn coefficient(&mut self, code: &Huffman) -> Result<Symbol, &'static str> {
        match self.looked_up(&code.together) {
            Some(symbol) => Ok(symbol),
            None => self.long_coefficient(code),
        }
    }

    /// As [`coefficient`](Self::coefficient), where it only matters whether the value is 0.
    #[inline(always)]
    pub(super) fn passed_coefficient(&mut self, code: &Huffman) -> Result<Symbol, &'static str> {
        match self.looked_up(&code.passed) {
            Some(symbol) => Ok(symbol),
            None => self.long_coefficient(code),
        }
    }

    /// The symbol that a table has for the next bits, if it has one and they are there.
    #[inline(always)]
    fn looked_up(&mut self, table: &[CodeEntry]) -> Option<Symbol> {
        self.fill_for_value();
        let entry = table[(self.ahead >> (64 - TOGETHER)) as usize];
        let length = u32::from(entry.length);
        if length == 0 || length > self.count {
            return None;
        }
        self.ahead <<= length;
        self.count -= length;
        Some(Symbol { zeros: entry.zeros.into(), value: entry.value.into() })
    }

    #[inline(never)]
    fn long_coefficient(&mut self, code: &Huffman) -> Result<Symbol, &'static str> {
        let symbol = self.symbol(code)?;
        let value = self.signed(u32::from(symbol & 15))?;
        Ok(Symbol { zeros: usize::from(symbol >> 4), value })
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
        if self.count < bits {
            self.fill();
        }
        // In two steps, since no bits at all are a shift by 64.
        let value = (self.ahead >> 1 >> (63 - bits)) as u32;
        self.skip(bits)?;
        Ok(value)
    }

    /// A value of `size` bits (at most 15) whose sign is its first bit.
    pub(super) fn signed(&mut self, size: u32) -> Result<i32, &'static str> {
        Ok(extended(self.take(size)? as i32, size))
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

/// An AC symbol: how many zeros come before the value, which is 0 for the symbols without one.
#[derive(Clone, Copy)]
pub(super) struct Symbol {
    pub zeros: usize,
    pub value: i32,
}

/// A [`Symbol`], and how many bits its code and its value have; 0 if they are more than are looked up.
#[derive(Clone, Copy, Default)]
struct CodeEntry {
    value: i16,
    zeros: u8,
    length: u8,
}

/// Codes up to this length are looked up in one step.
const SHORT: u32 = 9;

/// Bits that are looked up for an AC symbol and its value.
const TOGETHER: u32 = 10;

/// A canonical Huffman code.
#[derive(Clone)]
pub(super) struct Huffman {
    symbols: Vec<u8>,
    /// Symbol and length of the code that a bit pattern starts with; length 0: a longer code.
    short: Vec<(u8, u8)>,
    /// For patterns of [`TOGETHER`] bits, the AC symbol that they begin with, and its value.
    together: Vec<CodeEntry>,
    /// The same without the value, of which the bits needn't be in the pattern; it is 0 or 1.
    passed: Vec<CodeEntry>,
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
            together: vec![CodeEntry::default(); 1 << TOGETHER],
            passed: vec![CodeEntry::default(); 1 << TOGETHER],
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
                if length <= TOGETHER {
                    table.look_up_together(code, length, symbol);
                }
                code += 1;
            }
            index += usize::from(count);
            table.end[length as usize] = code << (16 - length);
            code <<= 1;
        }
        (index == symbols.len()).then_some(table)
    }
    /// Enters the patterns that begin with a code.
    fn look_up_together(&mut self, code: u32, length: u32, symbol: u8) {
        let (zeros, size) = (symbol >> 4, u32::from(symbol & 15));
        let rest = TOGETHER - length;
        for pattern in 0..1u32 << rest {
            let at = (code << rest | pattern) as usize;
            let length = (length + size) as u8;
            self.passed[at] = CodeEntry { value: (size > 0).into(), zeros, length };
            if size <= rest {
                let value = extended((pattern >> (rest - size)) as i32, size) as i16;
                self.together[at] = CodeEntry { value, zeros, length };
            }
        }
    }
}

/// The value that `size` bits (at most 15) stand for: EXTEND of T.81, F.2.2.1.
fn extended(bits: i32, size: u32) -> i32 {
    let is_negative = size > 0 && bits < 1 << (size - 1);
    if is_negative { bits - (1 << size) + 1 } else { bits }
}
