//! A data set as one file, of which images are read where they lie in memory.
//!
//! A pack holds splits whole: the order, the labels, the paths and the fingerprints are those of the set that was
//! packed, so that whatever is trained or measured on the one has the same bits on the other. Everything is little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 16 | `flipside pack 1\n` |
//! | … | images, one after another: files as they were (JPEG, PNG, …), or height × width × 3 bytes of pixels |
//! | … | the index: the splits as JSON, an [`PackEntry`] an image, the images' paths |
//! | 80 | [`PackFooter`]: where the index lies, and its SHA-256 |
//!
//! The index is checked when a pack is opened, an image's CRC-32 whenever it is read.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::transform::{Area, ChooseArea};
use super::{ClassEntry, Dataset, Image8, decode_part, outside};
use crate::checkpoint::{atomic, map_file};
use crate::progress::Progress;
use crate::{Error, Result, hex};

/// What a pack begins with; the number is that of the format.
const MAGIC: &[u8; 16] = b"flipside pack 1\n";

/// Images that are read at a time while a pack is written.
const READ_AHEAD: usize = 64;

/// What images are kept as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackForm {
    /// The bytes of their files, where they have files of their own; pixels else.
    Encoded,
    /// Pixels: nothing is left to decode, and a photograph takes five to ten times the room.
    Decoded,
}

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
        if (entry.height, entry.width) != (0, 0) && pixels.checked_mul(3) != Some(entry.bytes) {
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

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Packed {
    /// Images of all splits.
    pub images: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// Writes splits, by their names, into one file, which appears whole or not at all; `stop` ends it.
///
/// # Errors
/// [`Error::File`] or [`Error::Io`] naming what can't be read, decoded or written; [`Error::Usage`] if it was stopped.
pub fn write_pack(
    splits: &[(String, Box<dyn Dataset>)],
    out: &Path,
    form: PackForm,
    progress: &dyn Progress,
    stop: &AtomicBool,
) -> Result<Packed> {
    let mut failed = None;
    let mut packed = None;
    let total: usize = splits.iter().map(|(_, set)| set.len()).sum();
    progress.begin("packing", "images", 0, total as u64);
    let written = atomic::write(out, |file| {
        let mut writer = PackWriter::new(file)?;
        for (name, set) in splits {
            match writer.split(name, set.as_ref(), form, progress, stop) {
                Ok(()) => {}
                Err(PackingError::Writing(error)) => return Err(error),
                Err(PackingError::Reading(error)) => {
                    failed = Some(error);
                    return Err(io::Error::other("an image can't be read"));
                }
            }
        }
        packed = Some(writer.finish()?);
        Ok(())
    });
    progress.end();
    match (failed, written, packed) {
        (Some(error), ..) | (None, Err(error), _) => Err(error),
        (None, Ok(()), Some(packed)) => Ok(packed),
        (None, Ok(()), None) => Err(Error::file(out, "wasn't written")),
    }
}

/// Why writing ended early.
enum PackingError {
    Writing(io::Error),
    Reading(Error),
}

struct PackWriter<'w> {
    out: &'w mut (dyn Write + Send),
    digest: Sha256,
    position: u64,
    splits: Vec<PackedSplit>,
    entries: Vec<PackEntry>,
    paths: String,
}

impl<'w> PackWriter<'w> {
    fn new(out: &'w mut (dyn Write + Send)) -> io::Result<Self> {
        let (splits, entries, paths) = (Vec::new(), Vec::new(), String::new());
        let mut writer =
            PackWriter { out, digest: Sha256::new(), position: 0, splits, entries, paths };
        writer.put(MAGIC)?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.digest.update(bytes);
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn split(
        &mut self,
        name: &str,
        set: &dyn Dataset,
        form: PackForm,
        progress: &dyn Progress,
        stop: &AtomicBool,
    ) -> std::result::Result<(), PackingError> {
        let all: Vec<usize> = (0..set.len()).collect();
        for some in all.chunks(READ_AHEAD) {
            if stop.load(Ordering::Relaxed) {
                let stopped =
                    Error::usage("stopped before the pack was whole; nothing was written");
                return Err(PackingError::Reading(stopped));
            }
            let read: Vec<Result<PackedImage>> =
                some.par_iter().map(|&i| PackedImage::of(set, i, form)).collect();
            for (&i, stored) in some.iter().zip(read) {
                let stored = stored.map_err(PackingError::Reading)?;
                self.image(set, i, &stored).map_err(PackingError::Writing)?;
            }
            progress.advance(some.len() as u64, "");
        }
        self.splits.push(PackedSplit {
            name: name.into(),
            classes: set.classes().iter().map(|c| (c.id.clone(), c.name.clone())).collect(),
            images: set.len(),
            fingerprint: set.fingerprint(),
            skipped: set.skipped(),
        });
        Ok(())
    }

    fn image(&mut self, set: &dyn Dataset, i: usize, stored: &PackedImage) -> io::Result<()> {
        let (start, [height, width]) = (self.position, stored.size);
        self.put(&stored.bytes)?;
        self.paths.push_str(&set.path(i));
        self.entries.push(PackEntry {
            start,
            bytes: stored.bytes.len() as u64,
            path_end: self.paths.len() as u64,
            height,
            width,
            label: set.label(i) as u32,
            crc: crc32fast::hash(&stored.bytes),
        });
        Ok(())
    }

    fn finish(mut self) -> io::Result<Packed> {
        let splits = serde_json::to_vec(&self.splits).map_err(io::Error::other)?;
        let (entries, paths) = (std::mem::take(&mut self.entries), std::mem::take(&mut self.paths));
        let index_start = self.position;
        let mut index = Sha256::new();
        for part in [&splits[..], bytemuck::cast_slice(&entries), paths.as_bytes()] {
            self.put(part)?;
            index.update(part);
        }
        let footer = PackFooter {
            index_start,
            splits_bytes: splits.len() as u64,
            images: entries.len() as u64,
            paths_bytes: paths.len() as u64,
            index_sha256: index.finalize().into(),
            magic: *MAGIC,
        };
        self.put(bytemuck::bytes_of(&footer))?;
        let sha256 = hex(&self.digest.finalize());
        Ok(Packed { images: entries.len() as u64, bytes: self.position, sha256 })
    }
}

/// An image as it is written.
struct PackedImage {
    bytes: Vec<u8>,
    /// Rows and columns; zeros of a file's bytes.
    size: [u32; 2],
}

impl PackedImage {
    fn of(set: &dyn Dataset, i: usize, form: PackForm) -> Result<PackedImage> {
        // Decoded in either form: what can't be read later isn't packed.
        let image = set.image(i)?;
        if form == PackForm::Encoded
            && let Some(bytes) = set.encoded(i)?
        {
            return Ok(PackedImage { bytes, size: [0, 0] });
        }
        // PNG and JPEG have no sides beyond that.
        Ok(PackedImage { size: [image.height as u32, image.width as u32], bytes: image.pixels })
    }
}

#[cfg(test)]
mod tests {
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
