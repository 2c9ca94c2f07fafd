//! The list of ImageNet's classes in `meta.mat`: a MATLAB 5 file (MathWorks, "MAT-File Format"), as far as it takes.
//!
//! A header of 128 bytes, then elements: a type and a length of 4 bytes each (2 and 2 where the data fit into the 4
//! bytes behind), data, padding up to a multiple of 8. A compressed element (zlib) holds one other. A matrix is made of
//! elements: flags with its class, dimensions, name, values; a struct array has the names of its fields and a matrix a
//! field and element.

use std::io::Read;

use crate::error::shorten;

/// What parsing gives, or half a sentence about the file.
type MatlabResult<T> = std::result::Result<T, String>;

/// The most bytes of an unpacked variable: some hundred times what ImageNet's list takes.
const MOST_UNPACKED: u64 = 64 << 20;

const HEADER: usize = 128;
const INT8: u32 = 1;
const UINT8: u32 = 2;
const INT16: u32 = 3;
const UINT16: u32 = 4;
const INT32: u32 = 5;
const UINT32: u32 = 6;
const DOUBLE: u32 = 9;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;
const UTF8: u32 = 16;
const UTF16: u32 = 17;
/// Classes of matrices.
const STRUCT_CLASS: u8 = 2;
const CHAR_CLASS: u8 = 4;
const NUMBER_CLASSES: std::ops::RangeInclusive<u8> = 6..=15;

/// A row of ImageNet's list: a class, or a node above some.
#[derive(Debug, PartialEq)]
pub(super) struct Synset {
    /// `ILSVRC2012_ID`, from 1; classes have the lowest.
    pub id: u32,
    pub wnid: String,
    pub words: String,
    /// 0 for a class.
    pub num_children: u32,
}

/// The variable `synsets` of a file.
pub(super) fn synsets(file: &[u8]) -> MatlabResult<Vec<Synset>> {
    match file.get(124..HEADER) {
        Some([_, 1, b'I', b'M']) => {}
        Some([1, _, b'M', b'I']) => {
            return Err("is a big-endian MATLAB file, which isn't read".into());
        }
        _ => return Err("is no MATLAB 5 file".into()),
    }
    let mut rest = &file[HEADER..];
    while !rest.is_empty() {
        let (kind, data) = element(&mut rest)?;
        let unpacked;
        let matrix = match kind {
            COMPRESSED => {
                unpacked = unpack(data)?;
                let (kind, data) = element(&mut unpacked.as_slice())?;
                if kind != MATRIX {
                    return Err("has a compressed element that is no variable".into());
                }
                data
            }
            MATRIX => data,
            kind => return Err(format!("has an element of type {kind} where a variable is due")),
        };
        let matrix = MatlabMatrix::read(matrix)?;
        if matrix.name == b"synsets" {
            return rows(&matrix);
        }
    }
    Err("has no variable named synsets".into())
}

fn unpack(packed: &[u8]) -> MatlabResult<Vec<u8>> {
    let mut unpacked = Vec::new();
    let mut decoder = flate2::read::ZlibDecoder::new(packed).take(MOST_UNPACKED + 1);
    decoder.read_to_end(&mut unpacked).map_err(|error| format!("can't be unpacked ({error})"))?;
    match unpacked.len() as u64 > MOST_UNPACKED {
        true => Err(format!("unpacks to more than {MOST_UNPACKED} bytes")),
        false => Ok(unpacked),
    }
}

/// The type and the data of the element at the start of `rest`, which is left behind it.
fn element<'a>(rest: &mut &'a [u8]) -> MatlabResult<(u32, &'a [u8])> {
    let cut = || "is truncated".to_string();
    let word = |at: usize| -> MatlabResult<u32> {
        let bytes = rest.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_le_bytes).ok_or_else(cut)
    };
    let first = word(0)?;
    let (kind, start, len, end) = match (first >> 16) as usize {
        0 => {
            let len = word(4)? as usize;
            let padded = if first == COMPRESSED { len } else { len.next_multiple_of(8) };
            (first, 8, len, 8 + padded)
        }
        len if len <= 4 => (first & 0xffff, 4, len, 8),
        len => return Err(format!("has a small element of {len} bytes")),
    };
    let data = rest.get(start..start + len).ok_or_else(cut)?;
    *rest = &rest[end.min(rest.len())..];
    Ok((kind, data))
}

/// A matrix whose values aren't looked into yet.
struct MatlabMatrix<'a> {
    class: u8,
    count: usize,
    name: &'a [u8],
    values: &'a [u8],
}

impl<'a> MatlabMatrix<'a> {
    fn read(mut data: &'a [u8]) -> MatlabResult<MatlabMatrix<'a>> {
        // An empty one may have nothing at all.
        if data.is_empty() {
            return Ok(MatlabMatrix { class: 0, count: 0, name: &[], values: &[] });
        }
        let (UINT32, flags @ &[class, _, _, _, ..]) = element(&mut data)? else {
            return Err("has a variable without flags".into());
        };
        let (INT32, dims) = element(&mut data)? else {
            return Err("has a variable without dimensions".into());
        };
        let mut dims = dims.chunks_exact(4).map(|dim| {
            usize::try_from(i32::from_le_bytes(dim.try_into().unwrap_or_default())).ok()
        });
        let count = dims.try_fold(1usize, |count, dim| count.checked_mul(dim?));
        let (INT8, name) = element(&mut data)? else {
            return Err("has a variable without a name".into());
        };
        match (count, flags.len()) {
            (Some(count), 8) => Ok(MatlabMatrix { class, count, name, values: data }),
            _ => Err("has a variable of impossible dimensions".into()),
        }
    }

    /// A whole number.
    fn number(&self) -> Option<u32> {
        if !NUMBER_CLASSES.contains(&self.class) || self.count != 1 {
            return None;
        }
        let (kind, bytes) = element(&mut &*self.values).ok()?;
        match (kind, bytes) {
            (UINT8, &[value]) => Some(value.into()),
            (INT8, &[value]) => u32::try_from(value as i8).ok(),
            (UINT16, &[a, b]) => Some(u16::from_le_bytes([a, b]).into()),
            (INT16, &[a, b]) => u32::try_from(i16::from_le_bytes([a, b])).ok(),
            (UINT32, bytes) => Some(u32::from_le_bytes(bytes.try_into().ok()?)),
            (INT32, bytes) => u32::try_from(i32::from_le_bytes(bytes.try_into().ok()?)).ok(),
            (DOUBLE, bytes) => {
                let value = f64::from_le_bytes(bytes.try_into().ok()?);
                (value.fract() == 0.0 && (0.0..1e9).contains(&value)).then_some(value as u32)
            }
            _ => None,
        }
    }

    fn text(&self) -> Option<String> {
        if self.class != CHAR_CLASS {
            return None;
        }
        let (kind, bytes) = element(&mut &*self.values).ok()?;
        match kind {
            INT8 | UINT8 | UTF8 => String::from_utf8(bytes.to_vec()).ok(),
            UINT16 | UTF16 => {
                let units =
                    bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
                String::from_utf16(&units.collect::<Vec<u16>>()).ok()
            }
            _ => None,
        }
    }
}

/// The elements of a struct array.
fn rows(matrix: &MatlabMatrix<'_>) -> MatlabResult<Vec<Synset>> {
    if matrix.class != STRUCT_CLASS {
        return Err("has a variable synsets that is no struct".into());
    }
    let mut rest = matrix.values;
    let (INT32, &[a, b, c, d]) = element(&mut rest)? else {
        return Err("has a struct without names of its fields".into());
    };
    let width = u32::from_le_bytes([a, b, c, d]) as usize;
    let (INT8, names) = element(&mut rest)? else {
        return Err("has a struct without names of its fields".into());
    };
    if width == 0 || names.is_empty() || !names.len().is_multiple_of(width) {
        return Err("has a struct without names of its fields".into());
    }
    let names: Vec<&[u8]> = names
        .chunks_exact(width)
        .map(|name| name.split(|&byte| byte == 0).next().unwrap_or_default())
        .collect();
    let mut found = Vec::new();
    for row in 0..matrix.count {
        let (mut id, mut wnid, mut words, mut num_children) = (None, None, None, None);
        for name in &names {
            let (kind, data) = element(&mut rest)?;
            if kind != MATRIX {
                return Err(format!("has a struct whose row {row} is broken"));
            }
            let value = MatlabMatrix::read(data)?;
            match *name {
                b"ILSVRC2012_ID" => id = value.number(),
                b"WNID" => wnid = value.text(),
                b"words" => words = value.text(),
                b"num_children" => num_children = value.number(),
                _ => {}
            }
        }
        let (Some(id), Some(wnid), Some(words), Some(num_children)) =
            (id, wnid, words, num_children)
        else {
            return Err(format!(
                "has a row {row} of synsets without ILSVRC2012_ID, WNID, words or num_children"
            ));
        };
        if !super::wordnet::is_wordnet_id(&wnid) {
            return Err(format!("has {} for a WNID", shorten(&wnid, 40)));
        }
        found.push(Synset { id, wnid, words, num_children });
    }
    Ok(found)
}
