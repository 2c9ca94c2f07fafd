//! A data set as one file, of which images are read where they lie in memory.
//!
//! A pack holds splits whole: the order, the labels, the paths and the fingerprints are those of the set that was
//! packed, so that whatever is trained or measured on the one has the same bits on the other. Everything is little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 16 | `flipside pack 1\n` |
//! | … | images, one after another: files as they were (JPEG, PNG, …), or height × width × 3 bytes of pixels |
//! | … | the index: the splits as JSON, a [`PackEntry`] an image, the images' paths |
//! | 80 | [`PackFooter`]: where the index lies, and its SHA-256 |
//!
//! The index is checked when a pack is opened, an image's CRC-32 whenever it is read.

mod write;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::transform::{Area, ChooseArea};
use super::{ClassEntry, Dataset, Image8, decode_part, outside};
use crate::checkpoint::map_file;
use crate::{Error, Result, hex};

pub use write::{PackForm, Packed, write_pack};

/// What a pack begins with; the number is that of the format.
const MAGIC: &[u8; 16] = b"flipside pack 1\n";

/// An image in the index.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct PackEntry {
    /// Where its bytes begin in the file.
    start: u64,
    bytes: u64,
    /// Where its path ends among the paths; the path begins where that of the image before ends.
    path_end: u64,
    /// Rows, and columns, of pixels; 0 of the bytes of a file.
    height: u32,
    width: u32,
    label: u32,
    /// CRC-32 of its bytes.
    crc: u32,
}

/// The end of a pack.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct PackFooter {
    index_start: u64,
    /// Bytes of the splits' JSON, which the index begins with.
    splits_bytes: u64,
    /// Number of entries, of all splits.
    images: u64,
    /// Bytes of all paths.
    paths_bytes: u64,
    /// SHA-256 of the index.
    index_sha256: [u8; 32],
    magic: [u8; 16],
}

/// A split in the index.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PackedSplit {
    name: String,
    /// Ids and names.
    classes: Vec<(String, String)>,
    images: usize,
    fingerprint: String,
    /// What was left out of the set, by paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    skipped: Vec<String>,
}

/// A pack, opened.
#[derive(Clone)]
pub struct Pack {
    file: Arc<PackFile>,
}

struct PackFile {
    path: PathBuf,
    map: memmap2::Mmap,
    splits: Vec<PackedSplit>,
    entries: Vec<PackEntry>,
    /// Where the paths begin.
    paths: usize,
}

impl Pack {
    /// Whether a file begins as packs do.
    ///
    /// # Errors
    /// [`Error::Io`] if it can't be read.
    pub fn is_pack(path: &Path) -> Result<bool> {
        let failed = |source| Error::io(path, source);
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Ok(false);
        }
        let mut begin = [0; MAGIC.len()];
        let mut file = std::fs::File::open(path).map_err(failed)?;
        match io::Read::read_exact(&mut file, &mut begin) {
            Ok(()) => Ok(begin == *MAGIC),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// Opens a pack and checks its index. It must not be changed as long as it is open.
    ///
    /// # Errors
    /// [`Error::Io`] if it can't be read, [`Error::File`] if it is no pack, truncated or damaged.
    pub fn open(path: &Path) -> Result<Self> {
        let map = map_file(path)?;
        let wrong = |detail: String| Error::file(path, detail);
        if !map.starts_with(MAGIC) {
            return Err(wrong("is no pack of images".into()));
        }
        let (splits, entries, paths) = index(&map).map_err(wrong)?;
        Ok(Pack { file: Arc::new(PackFile { path: path.into(), map, splits, entries, paths }) })
    }

    /// The names of the splits.
    pub fn splits(&self) -> Vec<String> {
        self.file.splits.iter().map(|split| split.name.clone()).collect()
    }

    /// The images of a split.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no such split.
    pub fn split(&self, name: &str) -> Result<PackSplit> {
        let splits = &self.file.splits;
        let Some(place) = splits.iter().position(|split| split.name == name) else {
            let path = self.file.path.display();
            return Err(Error::usage(format!("{path}: has no split {name}")));
        };
        let first = splits[..place].iter().map(|split| split.images).sum();
        let entry =
            |(id, name): &(String, String)| ClassEntry { id: id.clone(), name: name.clone() };
        let classes = splits[place].classes.iter().map(entry).collect();
        Ok(PackSplit { file: self.file.clone(), place, first, classes })
    }

    /// SHA-256 of the file, in hexadecimal.
    pub fn sha256(&self) -> String {
        hex(&Sha256::digest(&self.file.map))
    }
}

/// Reads and checks the index: splits, entries, and where the paths begin.
fn index(map: &[u8]) -> std::result::Result<(Vec<PackedSplit>, Vec<PackEntry>, usize), String> {
    let truncated = || "is truncated: a pack ends with its index".to_string();
    let end = map.len().checked_sub(size_of::<PackFooter>()).ok_or_else(truncated)?;
    let footer: PackFooter = bytemuck::pod_read_unaligned(&map[end..]);
    if footer.magic != *MAGIC {
        return Err(truncated());
    }
    let damaged = |what: &str| format!("is damaged: {what}");
    let entries_bytes = footer.images.checked_mul(size_of::<PackEntry>() as u64);
    let index_bytes = entries_bytes
        .and_then(|bytes| bytes.checked_add(footer.splits_bytes))
        .and_then(|bytes| bytes.checked_add(footer.paths_bytes));
    let is_whole = index_bytes.and_then(|bytes| bytes.checked_add(footer.index_start));
    if is_whole != Some(end as u64) || footer.index_start < MAGIC.len() as u64 {
        return Err(damaged("its index isn't where its end says"));
    }
    // All of them are below the length of the file.
    let start = footer.index_start as usize;
    if Sha256::digest(&map[start..end])[..] != footer.index_sha256 {
        return Err(damaged("its index has another SHA-256 than it was written with"));
    }
    let entries_start = start + footer.splits_bytes as usize;
    let paths = end - footer.paths_bytes as usize;
    let splits: Vec<PackedSplit> = serde_json::from_slice(&map[start..entries_start])
        .map_err(|error| damaged(&format!("its splits can't be read: {error}")))?;
    let entries: Vec<PackEntry> = map[entries_start..paths]
        .chunks_exact(size_of::<PackEntry>())
        .map(bytemuck::pod_read_unaligned)
        .collect();
    check(&splits, &entries, start, &map[paths..end]).map_err(damaged)?;
    Ok((splits, entries, paths))
}

/// Whether an index that is what somebody wrote makes sense.
fn check(
    splits: &[PackedSplit],
    entries: &[PackEntry],
    images_end: usize,
    paths: &[u8],
) -> std::result::Result<(), &'static str> {
    let mut left = entries;
    for (place, split) in splits.iter().enumerate() {
        let is_name = !split.name.is_empty() && !split.name.contains(char::is_control);
        if !is_name || splits[..place].iter().any(|other| other.name == split.name) {
            return Err("a split has no name of its own");
        }
        let ids: HashSet<&str> = split.classes.iter().map(|(id, _)| id.as_str()).collect();
        if ids.len() != split.classes.len() || ids.contains("") {
            return Err("a class has no id of its own");
        }
        let Some((own, rest)) = left.split_at_checked(split.images) else {
            return Err("its splits have more images than there are");
        };
        if own.iter().any(|entry| entry.label as usize >= split.classes.len()) {
            return Err("an image has a label beyond the classes");
        }
        left = rest;
    }
    if !left.is_empty() {
        return Err("it has more images than its splits");
    }
    let mut path_start = 0;
    for entry in entries {
        let end = entry.start.checked_add(entry.bytes);
        if end.is_none_or(|end| end > images_end as u64) {
            return Err("an image lies beyond its end");
        }
        let pixels = u64::from(entry.height) * u64::from(entry.width);
        let is_file = (entry.height, entry.width) == (0, 0);
        if !is_file && (pixels == 0 || pixels.checked_mul(3) != Some(entry.bytes)) {
            return Err("an image has another size than its pixels");
        }
        let path = paths.get(path_start..entry.path_end as usize);
        if path.is_none_or(|path| std::str::from_utf8(path).is_err()) {
            return Err("an image's path isn't text");
        }
        path_start = entry.path_end as usize;
    }
    Ok(())
}

/// A split of a pack.
pub struct PackSplit {
    file: Arc<PackFile>,
    /// The split, by its place.
    place: usize,
    /// Its first entry.
    first: usize,
    classes: Vec<ClassEntry>,
}

impl PackSplit {
    fn entry(&self, i: usize) -> &PackEntry {
        assert!(i < self.len(), "image {i} of {}", self.len());
        &self.file.entries[self.first + i]
    }

    /// The bytes of image `i`, as they were written.
    fn bytes(&self, i: usize) -> Result<&[u8]> {
        let entry = self.entry(i);
        let bytes = &self.file.map[entry.start as usize..(entry.start + entry.bytes) as usize];
        if crc32fast::hash(bytes) != entry.crc {
            let detail =
                format!("is damaged: the bytes of {} aren't those that were written", self.path(i));
            return Err(Error::file(&self.file.path, detail));
        }
        Ok(bytes)
    }
}

impl Dataset for PackSplit {
    fn len(&self) -> usize {
        self.file.splits[self.place].images
    }

    fn classes(&self) -> &[ClassEntry] {
        &self.classes
    }

    fn label(&self, i: usize) -> usize {
        self.entry(i).label as usize
    }

    fn image(&self, i: usize) -> Result<Image8> {
        self.image_part(i, &mut Area::whole)
    }

    fn image_part(&self, i: usize, choose: &mut ChooseArea<'_>) -> Result<Image8> {
        let (bytes, entry) = (self.bytes(i)?, self.entry(i));
        if (entry.height, entry.width) == (0, 0) {
            return decode_part(bytes, &self.file.path.join(self.path(i)), choose);
        }
        let (height, width) = (entry.height as usize, entry.width as usize);
        let area = choose(height, width);
        if !area.lies_in(height, width) {
            return Err(outside(area, height, width));
        }
        let rows = bytes.chunks_exact(width * 3).skip(area.top).take(area.height);
        let rows = rows.flat_map(|row| &row[area.left * 3..(area.left + area.width) * 3]);
        Image8::new(area.height, area.width, rows.copied().collect())
    }

    fn path(&self, i: usize) -> String {
        let place = self.first + i;
        let ends = &self.file.entries;
        let start = if place == 0 { 0 } else { ends[place - 1].path_end as usize };
        let path = self.file.paths + start..self.file.paths + self.entry(i).path_end as usize;
        // Opening the pack has checked that it is text.
        String::from_utf8_lossy(&self.file.map[path]).into_owned()
    }

    fn fingerprint(&self) -> String {
        self.file.splits[self.place].fingerprint.clone()
    }

    fn skipped(&self) -> Vec<String> {
        self.file.splits[self.place].skipped.clone()
    }

    fn encoded(&self, i: usize) -> Result<Option<Vec<u8>>> {
        match self.entry(i).height {
            0 => Ok(Some(self.bytes(i)?.to_vec())),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::data::builtin::{Shapes, Split};
    use crate::data::{ImageFolder, rgb_png};
    use crate::progress::Silent;

    fn written(set: Box<dyn Dataset>, out: &Path, form: PackForm) -> Packed {
        let splits = [("val".to_string(), set)];
        write_pack(&splits, out, form, &Silent, &AtomicBool::new(false)).unwrap()
    }

    fn message<T>(result: Result<T>) -> String {
        result.err().unwrap().to_string()
    }

    fn same(a: &dyn Dataset, b: &dyn Dataset) {
        assert_eq!(
            (a.len(), a.classes(), a.fingerprint()),
            (b.len(), b.classes(), b.fingerprint())
        );
        for i in 0..a.len() {
            assert_eq!((a.label(i), a.path(i)), (b.label(i), b.path(i)));
            assert_eq!(a.image(i).unwrap(), b.image(i).unwrap());
        }
    }

    #[test]
    fn a_pack_is_the_set_that_was_packed() {
        let dir = tempfile::tempdir().unwrap();
        let shapes = Shapes::new(3, Split::Test, 70);
        for i in 0..shapes.len() {
            let file = dir.path().join(format!("set/c{}/{i}.png", shapes.label(i)));
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, rgb_png(&shapes.image(i).unwrap()).unwrap()).unwrap();
        }
        let folder = || ImageFolder::open(&dir.path().join("set")).unwrap();
        let mut sizes = Vec::new();
        for form in [PackForm::Encoded, PackForm::Decoded] {
            let out = dir.path().join("set.pack");
            let packed = written(Box::new(folder()), &out, form);
            let pack = Pack::open(&out).unwrap();
            assert_eq!((packed.images, &packed.sha256), (70, &pack.sha256()));
            assert_eq!(packed.bytes, std::fs::metadata(&out).unwrap().len());
            assert!(Pack::is_pack(&out).unwrap() && pack.splits() == ["val"]);
            same(&pack.split("val").unwrap(), &folder());
            assert!(message(pack.split("train")).contains("has no split train"));
            sizes.push(packed.bytes);
        }
        assert!(sizes[1] > 70 * 32 * 32 * 3 && sizes[0] < sizes[1], "{sizes:?}");
    }

    #[test]
    fn two_splits_lie_in_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("shapes.pack");
        let split = |split, count| -> Box<dyn Dataset> { Box::new(Shapes::new(1, split, count)) };
        let splits =
            [("train".into(), split(Split::Train, 12)), ("test".into(), split(Split::Test, 9))];
        write_pack(&splits, &out, PackForm::Encoded, &Silent, &AtomicBool::new(false)).unwrap();
        let pack = Pack::open(&out).unwrap();
        for (name, set) in &splits {
            same(&pack.split(name).unwrap(), set.as_ref());
        }
    }

    /// Whoever writes an index can write its hash, too.
    #[test]
    fn an_index_that_makes_no_sense_is_refused() {
        let split = |name: &str, images| PackedSplit {
            name: name.into(),
            classes: vec![("a".into(), "a".into())],
            images,
            fingerprint: String::new(),
            skipped: Vec::new(),
        };
        let good =
            PackEntry { start: 16, bytes: 12, path_end: 1, height: 2, width: 2, label: 0, crc: 0 };
        let said = |splits: &[PackedSplit], entry| check(splits, &[entry], 28, b"x").err();
        let one = [split("val", 1)];
        assert_eq!(said(&one, good), None);
        let size = Some("an image has another size than its pixels");
        assert_eq!(said(&one, PackEntry { height: 0, bytes: 0, ..good }), size);
        assert_eq!(said(&one, PackEntry { height: u32::MAX, width: u32::MAX, ..good }), size);
        assert!(said(&one, PackEntry { start: 17, ..good }).unwrap().contains("beyond its end"));
        assert!(said(&one, PackEntry { start: u64::MAX, ..good }).unwrap().contains("its end"));
        assert!(said(&one, PackEntry { label: 1, ..good }).unwrap().contains("label"));
        assert!(said(&one, PackEntry { path_end: 2, ..good }).unwrap().contains("path"));
        assert!(said(&[split("val", 2)], good).unwrap().contains("more images"));
        assert!(said(&[split("val", 0)], good).unwrap().contains("more images"));
        assert!(said(&[split("a\nb", 1)], good).unwrap().contains("name"));
        assert!(said(&[split("v", 1), split("v", 0)], good).unwrap().contains("name"));
    }

    #[test]
    fn damage_anywhere_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("shapes.pack");
        written(Box::new(Shapes::new(1, Split::Test, 3)), &out, PackForm::Encoded);
        let whole = std::fs::read(&out).unwrap();
        let opened = |bytes: &[u8]| {
            std::fs::write(&out, bytes).unwrap();
            let split = Pack::open(&out)?.split("val")?;
            (0..split.len()).map(|i| split.image(i)).collect::<Result<Vec<_>>>()
        };
        assert_eq!(opened(&whole).unwrap().len(), 3);
        for at in (0..whole.len()).step_by(97).chain(whole.len() - 700..whole.len()) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x20;
            let error = message(opened(&bytes));
            assert!(error.contains("shapes.pack"), "{at}: {error}");
            assert!(!error.contains("No such"), "{at}: {error}");
        }
        for kept in [0, 5, 16, 70, whole.len() / 2, whole.len() - 1] {
            let error = message(opened(&whole[..kept]));
            assert!(["no pack", "truncated"].iter().any(|w| error.contains(w)), "{kept}: {error}");
        }
    }

    #[test]
    fn a_pack_that_is_stopped_or_fails_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("a.pack");
        let set: Box<dyn Dataset> = Box::new(Shapes::new(1, Split::Test, 3));
        let splits = [("val".to_string(), set)];
        let stop = AtomicBool::new(true);
        let error = message(write_pack(&splits, &out, PackForm::Encoded, &Silent, &stop));
        assert!(error.contains("stopped"), "{error}");
        std::fs::create_dir_all(dir.path().join("set/a")).unwrap();
        std::fs::write(dir.path().join("set/a/1.png"), "no picture").unwrap();
        let set: Box<dyn Dataset> = Box::new(ImageFolder::open(&dir.path().join("set")).unwrap());
        let splits = [("val".to_string(), set)];
        let stop = AtomicBool::new(false);
        let error = message(write_pack(&splits, &out, PackForm::Encoded, &Silent, &stop));
        assert!(error.contains("1.png"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
