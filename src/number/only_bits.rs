//! The bits that faults are drawn among.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strum::IntoEnumIterator;

use super::{FaultModel, Field, Format, parse_bits};
use crate::{Error, Result};

/// Bits by number, as exports number them, and by field; an empty choice means every bit of a value.
///
/// As text `23..30,sign`: numbers, ranges of them with both ends, and the words `sign`, `exponent` and `mantissa`, which
/// mean the bits of whichever format a value has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OnlyBits {
    numbers: u32,
    /// In the order of [`Field`], none of them twice.
    fields: Vec<Field>,
}

impl OnlyBits {
    /// Whether nothing is left out.
    pub fn is_all(&self) -> bool {
        self.numbers == 0 && self.fields.is_empty()
    }

    /// These bits of a value of `format`, in the word that holds it; numbers that it doesn't have are left out.
    pub fn within(&self, format: Format) -> u32 {
        if self.is_all() {
            return format.mask();
        }
        let fields = self.fields.iter().map(|field| format.field_mask(*field));
        fields.fold(self.numbers, |mask, field| mask | field) & format.mask()
    }

    /// As [`OnlyBits::within`], where faults flip `flipped` distinct ones of them.
    ///
    /// # Errors
    /// A number that the format doesn't have; fewer bits than are flipped.
    pub fn checked(&self, format: Format, flipped: usize) -> Result<u32> {
        FaultModel::Flip(self.numbers).masks(format, 0)?;
        let mask = self.within(format);
        if (mask.count_ones() as usize) < flipped {
            return Err(Error::usage(format!(
                "a fault flips {flipped} distinct bits, and of {} there is {} to choose from ({self})",
                format.what(),
                mask.count_ones(),
            )));
        }
        Ok(mask)
    }
}

impl fmt::Display for OnlyBits {
    /// In the form that is parsed: `23..30,sign`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        let mut bit = 0;
        while bit < 32 {
            let ones = (self.numbers >> bit).trailing_ones();
            match ones {
                0 => bit += 1,
                1 => words.push(bit.to_string()),
                _ => words.push(format!("{bit}..{}", bit + ones - 1)),
            }
            bit += ones;
        }
        words.extend(self.fields.iter().map(|field| field.name().to_string()));
        f.write_str(&words.join(","))
    }
}

impl FromStr for OnlyBits {
    type Err = Error;

    fn from_str(text: &str) -> Result<OnlyBits> {
        let refuse = |detail: String| {
            Error::usage(format!(
                "'{text}': {detail}; bits are numbers (31), ranges (23..30) and the words sign, exponent and mantissa, \
                 separated by commas"
            ))
        };
        let (mut numbers, mut fields) = (Vec::new(), Vec::new());
        for part in text.split(',').map(str::trim) {
            match Field::iter().find(|field| field.name() == part) {
                Some(field) if fields.contains(&field) => {
                    return Err(refuse(format!("{part} is named twice")));
                }
                Some(field) => fields.push(field),
                None if part.starts_with(|c: char| c.is_ascii_digit()) && !part.contains('+') => {
                    numbers.push(part);
                }
                None => return Err(refuse(format!("'{part}' is no bit"))),
            }
        }
        fields.sort();
        let numbers = match numbers.is_empty() {
            true => 0,
            false => parse_bits(&numbers.join("+")).map_err(refuse)?,
        };
        Ok(OnlyBits { numbers, fields })
    }
}

impl TryFrom<String> for OnlyBits {
    type Error = Error;

    fn try_from(text: String) -> Result<OnlyBits> {
        text.parse()
    }
}

impl From<OnlyBits> for String {
    fn from(bits: OnlyBits) -> String {
        bits.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(text: &str) -> OnlyBits {
        text.parse().unwrap()
    }

    #[test]
    fn words_follow_the_format_and_numbers_don_t() {
        for (text, format, mask) in [
            ("23..30", Format::F32, 0x7f80_0000),
            ("exponent", Format::F32, 0x7f80_0000),
            ("exponent", Format::Tf32, 0x7f80_0000),
            ("exponent", Format::F16, 0x7c00),
            ("sign", Format::Bf16, 0x8000),
            ("31", Format::F32, 1 << 31),
            ("20..22, 30", Format::F32, 0x4070_0000),
            ("mantissa,sign,30", Format::F32, 0xc07f_ffff),
        ] {
            assert_eq!(bits(text).checked(format, 1).unwrap(), mask, "{text}");
        }
        assert!(OnlyBits::default().is_all());
        assert_eq!(OnlyBits::default().within(Format::Tf32), 0xffff_e000);
    }

    #[test]
    fn what_a_format_lacks_is_refused() {
        let said = |text: &str, format, flipped| {
            bits(text).checked(format, flipped).unwrap_err().to_string()
        };
        assert!(said("12", Format::Tf32, 1).contains("a tf32 number has bits 13 to 31"));
        assert!(said("14..16", Format::Bf16, 1).contains("names bit 16"));
        assert!(said("sign", Format::F32, 2).contains("2 distinct bits"));
    }

    #[test]
    fn text_is_read_as_it_is_written() {
        for text in ["23..30", "31", "0..31", "20..22,30", "5,sign", "sign,exponent,mantissa"] {
            assert_eq!(bits(text).to_string(), text);
            let json = serde_json::to_string(&bits(text)).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<OnlyBits>(&json).unwrap(), bits(text));
        }
        assert_eq!(bits("mantissa,30,23..29,sign").to_string(), "23..30,sign,mantissa");
        for (text, word) in [
            ("", "'' is no bit"),
            ("fraction", "'fraction' is no bit"),
            ("32", "0 to 31"),
            ("30..23", "runs backwards"),
            ("3,2..4", "bit 3 is named twice"),
            ("sign,sign", "sign is named twice"),
            ("3+4", "'3+4' is no bit"),
            ("-1", "'-1' is no bit"),
        ] {
            let said = text.parse::<OnlyBits>().unwrap_err().to_string();
            assert!(said.contains(word) && said.contains("mantissa"), "{text}: {said}");
        }
    }
}
