//! Scans: entropy-coded data to quantised coefficients, sequential and progressive (T.81, F.2, G.2).

use super::bits::{Bits, CORRUPT, Huffman, Symbol};

/// Where coefficient k of the coded order stands in a block of rows.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// The place of coefficient `k` (below 64) in a block.
pub(super) fn place(k: usize) -> usize {
    usize::from(ZIGZAG[k & 63])
}

/// 64 coefficients, rows from the top.
pub(super) type Coefficients = [i16; 64];

/// What a scan holds of each block.
#[derive(Clone, Copy)]
pub(super) struct Band {
    pub progressive: bool,
    /// First and last coefficient, in coded order.
    pub first: usize,
    pub last: usize,
    /// Lowest bit of an earlier scan of the band; 0 in the first.
    pub high: u32,
    /// Lowest bit of this one.
    pub low: u32,
}

/// All of a block.
pub(super) const SEQUENTIAL: Band =
    Band { progressive: false, first: 0, last: 63, high: 0, low: 0 };

/// What decoding carries from block to block; a restart clears it.
#[derive(Default)]
pub(super) struct State {
    /// The last DC value of each component of the scan.
    pub predictions: [i32; 4],
    /// Blocks that hold nothing more of the band.
    pub empty_blocks: u32,
}

/// The codes that a component uses in a scan, where they are defined.
#[derive(Clone, Copy)]
pub(super) struct Codes<'a> {
    pub dc: Option<&'a Huffman>,
    pub ac: Option<&'a Huffman>,
}

const NO_TABLE: &str = "is a corrupt JPEG: a scan uses a Huffman table that isn't there";

/// Decodes one block's share of a scan; `component` is its place in the scan.
pub(super) fn block(
    bits: &mut Bits<'_>,
    band: Band,
    codes: Codes<'_>,
    state: &mut State,
    component: usize,
    block: &mut Coefficients,
) -> Result<(), &'static str> {
    if !band.progressive {
        dc_first(bits, band, codes, &mut state.predictions[component], block)?;
        return sequential(bits, codes.ac.ok_or(NO_TABLE)?, block).map(|_| ());
    }
    match (band.first, band.high) {
        (0, 0) => dc_first(bits, band, codes, &mut state.predictions[component], block),
        (0, _) => {
            block[0] |= (bits.take(1)? << band.low) as i16;
            Ok(())
        }
        (_, 0) => ac_first(bits, band, codes.ac.ok_or(NO_TABLE)?, &mut state.empty_blocks, block),
        _ => ac_refined(bits, band, codes.ac.ok_or(NO_TABLE)?, &mut state.empty_blocks, block),
    }
}

fn dc_first(
    bits: &mut Bits<'_>,
    band: Band,
    codes: Codes<'_>,
    prediction: &mut i32,
    block: &mut Coefficients,
) -> Result<(), &'static str> {
    let size = u32::from(bits.symbol(codes.dc.ok_or(NO_TABLE)?)?);
    if size > 15 {
        return Err(CORRUPT);
    }
    // Sums that leave 16 bits are no picture, but no reason to stop either.
    *prediction = prediction.wrapping_add(bits.signed(size)?);
    block[0] = (*prediction << band.low) as i16;
    Ok(())
}

/// Decodes a block of a sequential scan into `block`, which must be 0, and says whether it has AC coefficients.
#[inline(always)]
pub(super) fn sequential_block(
    bits: &mut Bits<'_>,
    codes: Codes<'_>,
    prediction: &mut i32,
    block: &mut Coefficients,
) -> Result<bool, &'static str> {
    dc_first(bits, SEQUENTIAL, codes, prediction, block)?;
    sequential(bits, codes.ac.ok_or(NO_TABLE)?, block)
}

/// Goes past a block of a sequential scan; it is judged as if it were decoded.
pub(super) fn passed_block(
    bits: &mut Bits<'_>,
    codes: Codes<'_>,
    prediction: &mut i32,
) -> Result<(), &'static str> {
    dc_first(bits, SEQUENTIAL, codes, prediction, &mut [0; 64])?;
    let code = codes.ac.ok_or(NO_TABLE)?;
    let mut k = 1;
    while k < 64 {
        let Symbol { zeros, value } = bits.passed_coefficient(code)?;
        k += zeros + 1;
        if value == 0 {
            if zeros < 15 {
                break;
            }
        } else if k > 64 {
            return Err(CORRUPT);
        }
    }
    Ok(())
}

/// All AC coefficients of a block; whether there are any.
#[inline(always)]
fn sequential(
    bits: &mut Bits<'_>,
    code: &Huffman,
    block: &mut Coefficients,
) -> Result<bool, &'static str> {
    let (mut k, mut any) = (1, false);
    while k < 64 {
        let Symbol { zeros, value } = bits.coefficient(code)?;
        k += zeros;
        if value == 0 {
            if zeros < 15 {
                break;
            }
        } else {
            if k > 63 {
                return Err(CORRUPT);
            }
            block[place(k)] = value as i16;
            any = true;
        }
        k += 1;
    }
    Ok(any)
}

/// Blocks without further coefficients, this one among them, that symbol `size` 0 announces.
fn empty_run(bits: &mut Bits<'_>, exponent: usize) -> Result<u32, &'static str> {
    Ok((1 << exponent) + bits.take(exponent as u32)?)
}

fn ac_first(
    bits: &mut Bits<'_>,
    band: Band,
    code: &Huffman,
    empty_blocks: &mut u32,
    block: &mut Coefficients,
) -> Result<(), &'static str> {
    if *empty_blocks > 0 {
        *empty_blocks -= 1;
        return Ok(());
    }
    let mut k = band.first;
    while k <= band.last {
        let symbol = bits.symbol(code)?;
        let (zeros, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        if size == 0 {
            if zeros < 15 {
                *empty_blocks = empty_run(bits, zeros)? - 1;
                break;
            }
            k += 16;
            continue;
        }
        k += zeros;
        if k > band.last {
            return Err(CORRUPT);
        }
        block[place(k)] = (bits.signed(size)? << band.low) as i16;
        k += 1;
    }
    Ok(())
}

/// One more bit of each coefficient that isn't 0 yet, and those that become ±1 in this bit.
fn ac_refined(
    bits: &mut Bits<'_>,
    band: Band,
    code: &Huffman,
    empty_blocks: &mut u32,
    block: &mut Coefficients,
) -> Result<(), &'static str> {
    let one = 1i16 << band.low;
    let mut k = band.first;
    while *empty_blocks == 0 && k <= band.last {
        let symbol = bits.symbol(code)?;
        let (mut zeros, size) = (usize::from(symbol >> 4), symbol & 15);
        let mut value = 0;
        match size {
            0 if zeros < 15 => {
                *empty_blocks = empty_run(bits, zeros)?;
                break;
            }
            0 => {}
            1 => value = if bits.take(1)? == 1 { one } else { -one },
            _ => return Err(CORRUPT),
        }
        // Past `zeros` coefficients that are 0; those that aren't get their bit on the way.
        while k <= band.last {
            let coefficient = &mut block[place(k)];
            k += 1;
            if *coefficient != 0 {
                refine(bits, coefficient, one)?;
            } else if zeros == 0 {
                *coefficient = value;
                break;
            } else {
                zeros -= 1;
            }
        }
    }
    if *empty_blocks > 0 {
        for k in k..=band.last {
            let coefficient = &mut block[place(k)];
            if *coefficient != 0 {
                refine(bits, coefficient, one)?;
            }
        }
        *empty_blocks -= 1;
    }
    Ok(())
}

/// Adds a bit to the magnitude.
fn refine(bits: &mut Bits<'_>, coefficient: &mut i16, one: i16) -> Result<(), &'static str> {
    if bits.take(1)? == 1 && *coefficient & one == 0 {
        let step = if *coefficient > 0 { one } else { -one };
        *coefficient = coefficient.wrapping_add(step);
    }
    Ok(())
}
