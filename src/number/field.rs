//! The fields of a floating-point number: sign, exponent and mantissa.

use serde::Serialize;
use strum::{EnumIter, EnumString, IntoStaticStr};

use super::Format;
use crate::Error;

/// A field of a number's bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[derive(EnumIter, EnumString, IntoStaticStr)]
#[strum(serialize_all = "kebab-case", parse_err_ty = Error, parse_err_fn = unknown)]
pub enum Field {
    Sign,
    Exponent,
    Mantissa,
}

fn unknown(word: &str) -> Error {
    Error::unknown::<Field>("field of a number", word)
}

impl Field {
    /// The word on the command line and in tables.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl Format {
    /// Its bits, in the word that holds a value: 0 to 31 of an f32, 13 to 31 of tf32, 0 to 15 of 16 bits.
    pub const fn mask(self) -> u32 {
        u32::MAX >> (32 - self.bits()) << self.shift()
    }

    /// The bits of a field, in that word.
    pub const fn field_mask(self, field: Field) -> u32 {
        let sign = 1 << (self.bits() - 1);
        let mantissa = (1 << self.mantissa_bits()) - 1;
        let own = match field {
            Field::Sign => sign,
            Field::Exponent => (sign - 1) & !mantissa,
            Field::Mantissa => mantissa,
        };
        own << self.shift()
    }

    /// The field that a bit of that word lies in; `None` where the format doesn't have it.
    pub fn field_of(self, bit: u32) -> Option<Field> {
        let is_in = |field: &Field| self.field_mask(*field).checked_shr(bit).unwrap_or(0) & 1 == 1;
        [Field::Sign, Field::Exponent, Field::Mantissa].into_iter().find(is_in)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// IEEE 754 for f32 and f16; bf16 and tf32 have f32's exponent and fewer bits behind it.
    #[test]
    fn fields_are_those_of_the_formats() {
        for (format, sign, exponent, mantissa) in [
            (Format::F32, 0x8000_0000, 0x7f80_0000, 0x007f_ffff),
            (Format::Tf32, 0x8000_0000, 0x7f80_0000, 0x007f_e000),
            (Format::Bf16, 0x8000, 0x7f80, 0x007f),
            (Format::F16, 0x8000, 0x7c00, 0x03ff),
        ] {
            let masks = [Field::Sign, Field::Exponent, Field::Mantissa];
            assert_eq!(masks.map(|field| format.field_mask(field)), [sign, exponent, mantissa]);
            assert_eq!(sign | exponent | mantissa, format.mask());
            for bit in 0..40 {
                let expected = masks.into_iter().zip([sign, exponent, mantissa]);
                let expected =
                    expected.into_iter().find(|(_, mask)| bit < 32 && mask >> bit & 1 == 1);
                assert_eq!(
                    format.field_of(bit),
                    expected.map(|(field, _)| field),
                    "{format:?} {bit}"
                );
            }
        }
        assert!("fraction".parse::<Field>().unwrap_err().to_string().contains("mantissa"));
    }
}
