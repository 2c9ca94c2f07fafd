//! What a fault does to a value: flips of bits, stuck bits, another value.

use super::Format;
use crate::{Error, Result};

/// What a fault does to the bits of a value: v′ = ((v & and) | or) ^ xor.
///
/// A NaN is made canonical first: arithmetic's own NaN differs between devices (0xffc00000 on x86, 0x7fffffff
/// on NVIDIA's GPUs), and so would what masks make of it. So v is 0x7fc00000 for any NaN of 32 bits (f32 and
/// tf32), 0x7fff for any of 16 (bf16 and f16). Several faults of one value come one after the other, and each
/// finds a NaN so, one that an earlier fault made included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BitMasks {
    pub and: u32,
    pub or: u32,
    pub xor: u32,
}

impl BitMasks {
    /// Flips every bit of `mask`; bit 0 is the least significant.
    pub const fn flip(mask: u32) -> Self {
        BitMasks { and: u32::MAX, or: 0, xor: mask }
    }

    /// Every bit of `mask` reads 0.
    pub const fn stuck_at_0(mask: u32) -> Self {
        BitMasks { and: !mask, or: 0, xor: 0 }
    }

    /// Every bit of `mask` reads 1.
    pub const fn stuck_at_1(mask: u32) -> Self {
        BitMasks { and: u32::MAX, or: mask, xor: 0 }
    }

    /// The value becomes `bits`.
    pub const fn set(bits: u32) -> Self {
        BitMasks { and: 0, or: bits, xor: 0 }
    }

    /// The bits of an f32 after the fault. (Values in 16-bit formats are hit only inside kernels.)
    pub const fn apply(&self, bits: u32) -> u32 {
        ((canonical(bits) & self.and) | self.or) ^ self.xor
    }
}

/// The bits of an f32; 0x7fc00000 for any NaN.
pub const fn canonical(bits: u32) -> u32 {
    if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fc0_0000 } else { bits }
}

/// A fault model. Bits are those of the word that holds the value: 0 to 15 of bf16 and f16, 13 to 31 of tf32,
/// whose numbers are an f32's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FaultModel {
    /// The bits of the mask change.
    Flip(u32),
    /// The bits of the mask read 0.
    StuckAt0(u32),
    /// The bits of the mask read 1.
    StuckAt1(u32),
    /// The value becomes this one, rounded to the format.
    Set(f32),
    /// The value becomes bits that are drawn uniformly, for each element anew.
    Random,
}

impl FaultModel {
    /// The masks for a value of `format`; `random` are the bits that [`FaultModel::Random`] takes.
    ///
    /// # Errors
    /// [`Error::Usage`] for a bit that the format doesn't have.
    pub fn masks(self, format: Format, random: u32) -> Result<BitMasks> {
        let shift = format.shift();
        let all = format.mask();
        if let FaultModel::Flip(mask) | FaultModel::StuckAt0(mask) | FaultModel::StuckAt1(mask) =
            self
            && mask & !all != 0
        {
            return Err(Error::usage(format!(
                "a fault names bit {}, but {} has bits {shift} to {}",
                (mask & !all).trailing_zeros(),
                format.what(),
                31 - all.leading_zeros()
            )));
        }
        Ok(match self {
            FaultModel::Flip(mask) => BitMasks::flip(mask),
            FaultModel::StuckAt0(mask) => BitMasks::stuck_at_0(mask),
            FaultModel::StuckAt1(mask) => BitMasks::stuck_at_1(mask),
            FaultModel::Set(value) => BitMasks::set(format.encode(value) << shift),
            FaultModel::Random => BitMasks::set(random << shift & all),
        })
    }
}

/// The bits of `text`: numbers joined by `+`, or a burst `first..last`, both ends included.
///
/// # Errors
/// What is wrong with it.
pub fn parse_bits(text: &str) -> std::result::Result<u32, String> {
    let number = |text: &str| {
        let bit: Option<u32> = text.parse().ok().filter(|bit| *bit < 32);
        bit.ok_or_else(|| format!("bit takes numbers from 0 to 31, not '{text}'"))
    };
    let mut mask = 0u32;
    for part in text.split('+') {
        let (first, last) = match part.split_once("..") {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        if last < first {
            return Err(format!("the burst {part} runs backwards"));
        }
        for bit in first..=last {
            if mask & (1 << bit) != 0 {
                return Err(format!("bit {bit} is named twice"));
            }
            mask |= 1 << bit;
        }
    }
    Ok(mask)
}

/// The bits of a mask, joined by `+`.
pub fn bits_text(mask: u32) -> String {
    let bits = (0..32).filter(|bit| mask >> bit & 1 == 1).map(|bit: u32| bit.to_string());
    bits.collect::<Vec<_>>().join("+")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_do_what_they_say() {
        let apply =
            |model: FaultModel, format, bits| model.masks(format, 0x5555_5555).unwrap().apply(bits);
        assert_eq!(apply(FaultModel::Flip(0b101), Format::F32, 0b110), 0b011);
        assert_eq!(apply(FaultModel::StuckAt0(0b101), Format::F32, 0b111), 0b010);
        assert_eq!(apply(FaultModel::StuckAt1(0b101), Format::F32, 0b010), 0b111);
        assert_eq!(apply(FaultModel::Set(1.0), Format::F32, 7), 1.0f32.to_bits());
        assert_eq!(apply(FaultModel::Set(1.0), Format::F16, 7), 0x3c00);
        assert_eq!(apply(FaultModel::Random, Format::Bf16, 7), 0x5555);
        // The bits of tf32 are an f32's, as exports number them: 31 is the sign, 13 the last of the fraction.
        assert_eq!(apply(FaultModel::Flip(1 << 31), Format::Tf32, 0), 1 << 31);
        assert_eq!(apply(FaultModel::StuckAt1(1 << 13), Format::Tf32, 0), 1 << 13);
        assert_eq!(apply(FaultModel::StuckAt0(1 << 30), Format::Tf32, 0x4000_0000), 0);
        for (bit, format, word) in [
            (12, Format::Tf32, "names bit 12, but a tf32 number has bits 13 to 31"),
            (0, Format::Tf32, "bits 13 to 31"),
            (16, Format::Bf16, "names bit 16, but a bf16 number has bits 0 to 15"),
            (16, Format::F16, "an f16 number has bits 0 to 15"),
        ] {
            let said = FaultModel::Flip(1 << 31 >> (31 - bit)).masks(format, 0).unwrap_err();
            assert!(said.to_string().contains(word), "{said}");
        }
    }

    /// The NaN of x86 and of GPUs, the canonical one and its negative, signalling ones of either sign.
    #[test]
    fn every_nan_is_hit_as_one() {
        let masks = [
            (BitMasks::flip(1 << 30), 0x3fc0_0000),
            (BitMasks::flip(1 << 31 | 1), 0xffc0_0001),
            (BitMasks::flip(0), 0x7fc0_0000),
            (BitMasks::stuck_at_0(1 << 22), 0x7f80_0000),
            (BitMasks::stuck_at_1(1 << 3), 0x7fc0_0008),
            (BitMasks::set(0x7f80_0001), 0x7f80_0001),
        ];
        for nan in [0xffc0_0000, 0x7fff_ffff, 0x7fc0_0000, 0x7f80_0001, 0xffb1_2345] {
            for (masks, expected) in masks {
                assert_eq!(masks.apply(nan), expected, "{nan:08x} under {masks:?}");
            }
        }
        // The largest number and the infinities aren't NaN.
        for bits in [0x7f7f_ffff, 0x7f80_0000, 0xff80_0000, 0x8000_0000, 0xffff_ffff >> 9] {
            assert_eq!(BitMasks::flip(1).apply(bits), bits ^ 1, "{bits:08x}");
        }
    }

    #[test]
    fn bits_are_lists_and_bursts() {
        assert_eq!(parse_bits("30+2"), Ok(1 << 30 | 1 << 2));
        assert_eq!(parse_bits("20..23"), Ok(0xf << 20));
        assert_eq!(parse_bits("0..31"), Ok(u32::MAX));
        assert_eq!(bits_text(1 << 30 | 0xf << 2), "2+3+4+5+30");
        for bad in ["", "32", "5..3", "1+1", "2..4+3", "-1", "x"] {
            assert!(parse_bits(bad).is_err(), "{bad}");
        }
    }
}
