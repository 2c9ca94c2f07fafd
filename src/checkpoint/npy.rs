//! `.npy` in: one array, as NumPy saves it (NEP 1, format versions 1 to 3).
//!
//! `\x93NUMPY`, two bytes of version, the header's length (two bytes in version 1, four later), a
//! Python dict as text, the elements. An array of Python objects is a pickle and is refused.

use super::stored::Stored;
use super::tensor::{Dtype, element_count};
use super::{Contents, Parsed, quote};

/// What every such file starts with.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// The name of the only tensor, which has none in the file.
const NAME: &str = "tensor";

/// The dimensions that NumPy allows at most.
const MOST_DIMENSIONS: usize = 64;

/// The array of a file, named `tensor`.
pub(super) fn read(bytes: &[u8]) -> Parsed<Contents> {
    let broken = |what: &str| format!("the .npy file is broken: {what}");
    let version = bytes.get(MAGIC.len()).copied().unwrap_or_default();
    let start = MAGIC.len() + 2;
    let number = |len: usize| -> Option<usize> {
        let digits = bytes.get(start..start + len)?;
        Some(digits.iter().rev().fold(0, |number, &digit| number << 8 | usize::from(digit)))
    };
    let (len_bytes, len) = match version {
        1 => (2, number(2)),
        2 | 3 => (4, number(4)),
        _ => return Err(format!("the .npy format's version {version} isn't known")),
    };
    let start = start + len_bytes;
    let header = len.and_then(|len| bytes.get(start..start.checked_add(len)?));
    let header = header.ok_or_else(|| broken("its header is cut off"))?;
    let text = std::str::from_utf8(header).map_err(|_| broken("its header isn't text"))?;
    let NpyHeader { descr, fortran_order, shape } =
        Parser { rest: text }.header().map_err(|e| broken(&e))?;
    let (dtype, big_endian) = element_type(&descr)?;
    let data = start + header.len()..bytes.len();
    let wanted = element_count(&shape).and_then(|count| count.checked_mul(dtype.size()));
    if wanted != Some(data.len()) {
        let detail =
            format!("its data has {} bytes, which shape {shape:?} doesn't take", data.len());
        return Err(broken(&detail));
    }
    let inner = |dim: usize| if fortran_order { &shape[..dim] } else { &shape[dim + 1..] };
    // Only with an empty dimension can this overflow; there are no elements to find then.
    let stride = |dim: usize| inner(dim).iter().fold(1usize, |all, size| all.saturating_mul(*size));
    let strides: Vec<usize> = (0..shape.len()).map(stride).collect();
    let stored = Stored::strided(dtype, &shape, &strides, data, 0, big_endian)
        .ok_or_else(|| broken("its shape doesn't fit its data"))?;
    Ok(Contents { tensors: vec![(NAME.into(), stored)], ..Contents::default() })
}

/// The element type of a `descr` such as `<f4`, and whether it is big-endian.
fn element_type(descr: &str) -> Parsed<(Dtype, bool)> {
    let unknown = || format!("element type {} isn't supported", quote(descr));
    let (order, kind) = descr.split_at_checked(1).ok_or_else(unknown)?;
    let dtype = match kind {
        "f8" => Dtype::F64,
        "f4" => Dtype::F32,
        "f2" => Dtype::F16,
        "i8" => Dtype::I64,
        "i4" => Dtype::I32,
        "i2" => Dtype::I16,
        "i1" => Dtype::I8,
        "u1" => Dtype::U8,
        "b1" => Dtype::Bool,
        kind if kind.starts_with('O') => {
            return Err("holds Python objects, a pickle, which is never executed; save the array \
                        with a numeric type"
                .into());
        }
        _ => return Err(unknown()),
    };
    match order {
        "<" | "=" | "|" => Ok((dtype, false)),
        ">" => Ok((dtype, true)),
        _ => Err(unknown()),
    }
}

/// The fields of a header.
struct NpyHeader {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

/// A reader of the little of Python that headers are written in.
struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn header(mut self) -> Parsed<NpyHeader> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.expect('{')?;
        while !self.take('}') {
            let key = self.string()?;
            self.expect(':')?;
            let known = match key {
                "descr" if self.is_next('[') => {
                    return Err("a structured array; save the field itself".into());
                }
                "descr" => descr.replace(self.string()?.to_string()).is_none(),
                "fortran_order" => fortran_order.replace(self.boolean()?).is_none(),
                "shape" => shape.replace(self.tuple()?).is_none(),
                _ => false,
            };
            if !known {
                return Err(format!("its header has {} unexpectedly", quote(key)));
            }
            if !self.take(',') {
                self.expect('}')?;
                break;
            }
        }
        if !self.rest.trim().is_empty() {
            return Err("its header goes on behind its end".into());
        }
        match (descr, fortran_order, shape) {
            (Some(descr), Some(fortran_order), Some(shape)) => {
                Ok(NpyHeader { descr, fortran_order, shape })
            }
            _ => Err("its header lacks descr, fortran_order or shape".into()),
        }
    }

    fn is_next(&mut self, wanted: char) -> bool {
        self.rest = self.rest.trim_start();
        self.rest.starts_with(wanted)
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.is_next(wanted);
        if found {
            self.rest = &self.rest[wanted.len_utf8()..];
        }
        found
    }

    fn expect(&mut self, wanted: char) -> Parsed<()> {
        match self.take(wanted) {
            true => Ok(()),
            false => Err(format!("its header lacks a {wanted} before {}", quote(self.rest))),
        }
    }

    /// A string without escapes, in either kind of quotes.
    fn string(&mut self) -> Parsed<&'a str> {
        let mark = if self.is_next('"') { '"' } else { '\'' };
        self.expect(mark)?;
        let (text, rest) =
            self.rest.split_once(mark).ok_or("its header has a string without an end")?;
        self.rest = rest;
        Ok(text)
    }

    fn word(&mut self) -> &'a str {
        let text = self.rest.trim_start();
        let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.rest = rest;
        word
    }

    fn boolean(&mut self) -> Parsed<bool> {
        match self.word() {
            "True" => Ok(true),
            "False" => Ok(false),
            other => Err(format!("its header has {} for a truth value", quote(other))),
        }
    }

    fn tuple(&mut self) -> Parsed<Vec<usize>> {
        let mut numbers = Vec::new();
        self.expect('(')?;
        while !self.take(')') {
            let word = self.word();
            // Python 2 wrote long integers with an L.
            let number = word.strip_suffix('L').unwrap_or(word).parse();
            numbers.push(number.map_err(|_| format!("its shape has {}", quote(word)))?);
            if numbers.len() > MOST_DIMENSIONS {
                return Err(format!("its shape has more than {MOST_DIMENSIONS} dimensions"));
            }
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(numbers)
    }
}
