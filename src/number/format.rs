//! Number formats: names, fields, rounding.

use strum::{EnumIter, EnumString, IntoStaticStr};

/// The format of a number: a sign, above an exponent, above a mantissa.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, EnumIter, EnumString, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Format {
    /// IEEE 754's binary32.
    #[default]
    F32,
    /// f32 less 13 bits of its mantissa: 19 bits, at the top of 32.
    Tf32,
    /// f32 less 16 bits of its mantissa.
    Bf16,
    /// IEEE 754's binary16.
    F16,
}

/// The bits of f32's infinity: larger ones are NaN, but for the sign.
const INFINITE: u32 = 0x7f80_0000;

impl Format {
    /// What a number of it is called, bits of its exponent and mantissa, and where its lowest bit lies in the word that
    /// a kernel holds.
    const fn row(self) -> (&'static str, [u32; 3]) {
        match self {
            Format::F32 => ("an f32", [8, 23, 0]),
            Format::Tf32 => ("a tf32 number", [8, 10, 13]),
            Format::Bf16 => ("a bf16 number", [8, 7, 0]),
            Format::F16 => ("an f16 number", [5, 10, 0]),
        }
    }

    /// The name in words and in kernels' names.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// What a number of it is called.
    pub const fn what(self) -> &'static str {
        self.row().0
    }

    /// Bits of its exponent.
    pub const fn exponent_bits(self) -> u32 {
        self.row().1[0]
    }

    /// Bits of its mantissa, the leading 1 not counted.
    pub const fn mantissa_bits(self) -> u32 {
        self.row().1[1]
    }

    /// Where its lowest bit lies in the word that a kernel holds.
    pub const fn shift(self) -> u32 {
        self.row().1[2]
    }

    /// Bits of a value.
    pub const fn bits(self) -> u32 {
        1 + self.exponent_bits() + self.mantissa_bits()
    }

    /// Bits of the word that a kernel holds: 16 or 32.
    pub const fn word_bits(self) -> u32 {
        if self.shift() + self.bits() > 16 { 32 } else { 16 }
    }

    /// The exponent's bias.
    const fn bias(self) -> u32 {
        (1 << (self.exponent_bits() - 1)) - 1
    }

    /// Its infinity.
    const fn infinite(self) -> u32 {
        ((1 << self.exponent_bits()) - 1) << self.mantissa_bits()
    }

    /// `value` in this format, rounded to nearest, ties to even, as its own bits. A NaN stays one, a quiet one where
    /// bits are lost; with f32's exponent it keeps the upper bits of its payload.
    #[inline]
    pub fn encode(self, value: f32) -> u32 {
        let (bias, mantissa) = (self.bias(), self.mantissa_bits());
        let lost = 23 - mantissa;
        let bits = value.to_bits();
        if lost == 0 {
            return bits;
        }
        let sign = bits >> 31 << (self.bits() - 1);
        let magnitude = bits & !(1 << 31);
        if magnitude > INFINITE {
            let payload = if self.exponent_bits() == 8 { magnitude >> lost } else { 0 };
            return sign | self.infinite() | 1 << (mantissa - 1) | payload;
        }
        let rounded = if magnitude < (128 - bias) << 23 {
            // Subnormal: units of 2^(1 − bias − mantissa), which the addition of 2^23 of them rounds to.
            let units = f32::from_bits((151 - bias - mantissa) << 23);
            (f32::from_bits(magnitude) + units).to_bits() - units.to_bits()
        } else {
            let half = (1 << (lost - 1)) - 1 + (magnitude >> lost & 1);
            ((magnitude + half) >> lost) - ((127 - bias) << mantissa)
        };
        sign | rounded.min(self.infinite())
    }

    /// The value of its own bits, exactly; a NaN keeps its payload.
    #[inline]
    pub fn decode(self, bits: u32) -> f32 {
        let sign = bits >> (self.bits() - 1) << 31;
        let magnitude = (bits & ((1 << (self.bits() - 1)) - 1)) << (23 - self.mantissa_bits());
        if magnitude >= self.infinite() << (23 - self.mantissa_bits()) {
            return f32::from_bits(sign | INFINITE | magnitude);
        }
        // An f32's fields but for the exponent's bias, which scaling by a power of two puts right.
        let rebias = f32::from_bits((254 - self.bias()) << 23);
        f32::from_bits(sign | (f32::from_bits(magnitude) * rebias).to_bits())
    }
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator;

    use super::*;

    #[test]
    fn formats_round_to_nearest_even() {
        for (format, value, bits) in [
            (Format::F32, 1.0, 0x3f80_0000),
            (Format::Tf32, 1.0, 0x3f80_0000 >> 13),
            (Format::Tf32, 1.0 + 1.0 / 2048.0, 0x3f80_0000 >> 13),
            (Format::Tf32, 1.0 + 3.0 / 2048.0, (0x3f80_0000 >> 13) + 2),
            (Format::Bf16, 1.0 + 3.0 / 256.0, 0x3f82),
            (Format::F16, 65520.0, 0x7c00),
        ] {
            assert_eq!(format.encode(value), bits, "{value} as {}", format.name());
        }
        for format in Format::iter() {
            let nan = format.encode(f32::NAN);
            assert!(format.decode(nan).is_nan() && nan <= format.mask(), "{}", format.name());
        }
    }

    /// NaNs aren't compared with `half`, which quiets signalling ones where `decode` keeps their bits, and keeps an
    /// f32's payload in an f16.
    #[test]
    fn values_are_those_of_the_crate_half() {
        type Halves = (fn(u16) -> f32, fn(f32) -> u16);
        let bf16: Halves =
            (|bits| half::bf16::from_bits(bits).to_f32(), |x| half::bf16::from_f32(x).to_bits());
        let f16: Halves =
            (|bits| half::f16::from_bits(bits).to_f32(), |x| half::f16::from_f32(x).to_bits());
        // Miri takes about a thousand times as long.
        let every = if cfg!(miri) { 1021 } else { 1 };
        for (format, (decode, encode)) in [(Format::Bf16, bf16), (Format::F16, f16)] {
            let lost = 23 - format.mantissa_bits();
            let check = |x: f32| {
                let expected = if x.is_nan() { format.encode(x) } else { encode(x).into() };
                assert_eq!(format.encode(x), expected, "{} of {x:e}", format.name());
            };
            for bits in (0..=u16::MAX).step_by(every) {
                let value = format.decode(bits.into()).to_bits();
                match decode(bits) {
                    nan if nan.is_nan() => assert_eq!(value << 9, u32::from(bits) << lost << 9),
                    number => assert_eq!(value, number.to_bits(), "{bits:04x}"),
                }
                // The number, the midpoints between it and its neighbours, and the f32 next to each of these.
                let half = 1 << (lost - 1);
                for offset in [-half - 1, -half, 1 - half, -1, 0, 1, half - 1, half, half + 1] {
                    check(f32::from_bits(value.wrapping_add_signed(offset)));
                }
                check(decode(bits) / 2.0 + decode(bits.wrapping_add(1)) / 2.0);
            }
            (0..=u32::MAX).step_by(4093 * every).for_each(|bits| check(f32::from_bits(bits)));
        }
    }
}
