//! Writing a pack.

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{MAGIC, PackEntry, PackFooter, PackedSplit};
use crate::checkpoint::atomic;
use crate::data::Dataset;
use crate::progress::Progress;
use crate::{Error, Result, hex};

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
/// [`Error::File`] or [`Error::Io`] naming what can't be read, decoded or written, or that it was stopped.
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
                Err(PackingError::Stopped) => {
                    failed =
                        Some(Error::file(out, "stopped before it was whole; nothing was written"));
                    return Err(io::Error::other("stopped"));
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
    Stopped,
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
                return Err(PackingError::Stopped);
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
