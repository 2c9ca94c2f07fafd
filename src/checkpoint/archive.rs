//! The zip archive inside a `.pth` file, read in place: stored entries only, Zip64 included.
//!
//! The central directory is walked here and not through a crate because every length that it
//! states must be held against the file before anything is allocated, and because tensors are
//! read straight from the mapped bytes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Range;

use super::Parsed;
use super::quote;

const END_SIGNATURE: &[u8] = b"PK\x05\x06";
const END_LEN: usize = 22;
const ZIP64_LOCATOR_SIGNATURE: &[u8] = b"PK\x06\x07";
const ZIP64_LOCATOR_LEN: usize = 20;
const ZIP64_END_SIGNATURE: &[u8] = b"PK\x06\x06";
const ENTRY_SIGNATURE: &[u8] = b"PK\x01\x02";
const ENTRY_LEN: usize = 46;
const LOCAL_SIGNATURE: &[u8] = b"PK\x03\x04";
const LOCAL_LEN: usize = 30;

const TRUNCATED: &str = "the zip archive is truncated or broken";

/// One file of the archive, as the central directory describes it.
struct Entry {
    flags: u16,
    method: u16,
    crc: u32,
    packed_len: u64,
    len: u64,
    local_offset: u64,
}

/// The directory of a zip archive over its bytes.
pub(super) struct Archive<'a> {
    bytes: &'a [u8],
    entries: HashMap<&'a str, Entry>,
    checked: RefCell<HashMap<&'a str, Range<usize>>>,
    served: Cell<usize>,
}

impl<'a> Archive<'a> {
    /// Reads the central directory. Errors are half sentences about the archive.
    pub fn parse(bytes: &'a [u8]) -> Parsed<Archive<'a>> {
        let broken = |what: &str| format!("{TRUNCATED}: {what}");
        let end = find_end(bytes).ok_or_else(|| broken("it has no directory at its end"))?;
        let mut count = u64::from(u16_at(bytes, end + 10).unwrap_or(0));
        let mut start = u64::from(u32_at(bytes, end + 16).unwrap_or(0));
        if let Some(zip64) = find_zip64_end(bytes, end) {
            count = u64_at(bytes, zip64 + 32).ok_or_else(|| broken("short Zip64 record"))?;
            start = u64_at(bytes, zip64 + 48).ok_or_else(|| broken("short Zip64 record"))?;
        }
        let mut at = usize::try_from(start).unwrap_or(usize::MAX);
        let mut entries = HashMap::new();
        for _ in 0..count {
            let (name, entry, next) =
                read_entry(bytes, at).ok_or_else(|| broken("its directory can't be read"))?;
            if entries.insert(name, entry).is_some() {
                return Err(format!("the zip archive has two entries named {}", quote(name)));
            }
            at = next;
        }
        Ok(Archive { bytes, entries, checked: RefCell::default(), served: Cell::new(0) })
    }

    /// The names in the archive, in no particular order.
    pub fn names(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.entries.keys().copied()
    }

    /// The bytes of an entry, checked against its CRC; none when there is no such entry.
    pub fn read(&self, name: &str) -> Parsed<Option<&'a [u8]>> {
        Ok(self.find(name)?.map(|place| &self.bytes[place]))
    }

    /// Where in the file the bytes of an entry lie, checked as in [`read`](Archive::read).
    pub fn find(&self, name: &str) -> Parsed<Option<Range<usize>>> {
        let Some((&name, entry)) = self.entries.get_key_value(name) else { return Ok(None) };
        if let Some(place) = self.checked.borrow().get(name) {
            return Ok(Some(place.clone()));
        }
        let shown = quote(name);
        if entry.flags & 1 != 0 {
            return Err(format!("its entry {shown} is encrypted"));
        }
        if entry.method != 0 || entry.packed_len != entry.len {
            return Err(format!(
                "its entry {shown} is compressed, which torch.save never does; save it anew"
            ));
        }
        let place = self
            .locate(entry)
            .ok_or_else(|| format!("{TRUNCATED}: entry {shown} lies outside the file"))?;
        // Entries that overlap could make a small file cost any amount of work.
        self.served.set(self.served.get() + place.len());
        if self.served.get() > self.bytes.len() {
            return Err("entries of the zip archive overlap".into());
        }
        // torch.save can be told to leave checksums out; it then writes zero.
        if entry.crc != 0 && crc32fast::hash(&self.bytes[place.clone()]) != entry.crc {
            return Err(format!("its entry {shown} is corrupt: the checksum (CRC-32) is wrong"));
        }
        self.checked.borrow_mut().insert(name, place.clone());
        Ok(Some(place))
    }

    fn locate(&self, entry: &Entry) -> Option<Range<usize>> {
        let local = usize::try_from(entry.local_offset).ok()?;
        if slice(self.bytes, local, 4)? != LOCAL_SIGNATURE {
            return None;
        }
        // The local name and extra field may differ in length from the directory's (padding).
        let name_len = usize::from(u16_at(self.bytes, local + 26)?);
        let extra_len = usize::from(u16_at(self.bytes, local + 28)?);
        let start = local.checked_add(LOCAL_LEN + name_len + extra_len)?;
        let end = start.checked_add(usize::try_from(entry.len).ok()?)?;
        (end <= self.bytes.len()).then_some(start..end)
    }
}

/// The offset of the end record, whose comment must reach exactly to the end of the file.
fn find_end(bytes: &[u8]) -> Option<usize> {
    let last = bytes.len().checked_sub(END_LEN)?;
    let first = last.saturating_sub(usize::from(u16::MAX));
    (first..=last).rev().find(|&at| {
        bytes[at..].starts_with(END_SIGNATURE)
            && u16_at(bytes, at + 20).is_some_and(|n| at + END_LEN + usize::from(n) == bytes.len())
    })
}

fn find_zip64_end(bytes: &[u8], end: usize) -> Option<usize> {
    let locator = end.checked_sub(ZIP64_LOCATOR_LEN)?;
    if !bytes[locator..].starts_with(ZIP64_LOCATOR_SIGNATURE) {
        return None;
    }
    let at = usize::try_from(u64_at(bytes, locator + 8)?).ok()?;
    (slice(bytes, at, 4)? == ZIP64_END_SIGNATURE).then_some(at)
}

/// The entry at `at`, and where the next one starts.
fn read_entry(bytes: &[u8], at: usize) -> Option<(&str, Entry, usize)> {
    let header = slice(bytes, at, ENTRY_LEN)?;
    if !header.starts_with(ENTRY_SIGNATURE) {
        return None;
    }
    let name_len = usize::from(u16_at(header, 28)?);
    let extra_len = usize::from(u16_at(header, 30)?);
    let comment_len = usize::from(u16_at(header, 32)?);
    let name = std::str::from_utf8(slice(bytes, at + ENTRY_LEN, name_len)?).ok()?;
    let extra = slice(bytes, at + ENTRY_LEN + name_len, extra_len)?;
    let mut entry = Entry {
        flags: u16_at(header, 8)?,
        method: u16_at(header, 10)?,
        crc: u32_at(header, 16)?,
        packed_len: u64::from(u32_at(header, 20)?),
        len: u64::from(u32_at(header, 24)?),
        local_offset: u64::from(u32_at(header, 42)?),
    };
    widen(&mut entry, extra)?;
    Some((name, entry, at + ENTRY_LEN + name_len + extra_len + comment_len))
}

/// Takes the fields that didn't fit 32 bits from the Zip64 extra field.
fn widen(entry: &mut Entry, extra: &[u8]) -> Option<()> {
    let mut fields = [&mut entry.len, &mut entry.packed_len, &mut entry.local_offset]
        .into_iter()
        .filter(|field| **field == u64::from(u32::MAX))
        .peekable();
    if fields.peek().is_none() {
        return Some(());
    }
    let mut at = 0;
    while u16_at(extra, at)? != 1 {
        at += 4 + usize::from(u16_at(extra, at + 2)?);
    }
    let len = usize::from(u16_at(extra, at + 2)?);
    let zip64 = slice(extra, at + 4, len)?;
    for (i, field) in fields.enumerate() {
        *field = u64_at(zip64, 8 * i)?;
    }
    Some(())
}

fn slice(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(len)?)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(slice(bytes, at, 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(slice(bytes, at, 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(slice(bytes, at, 8)?.try_into().ok()?))
}
