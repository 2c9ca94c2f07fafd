//! What readers of sets share: whole files, lines of text, members of archives, hashes.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use md5::Md5;
use sha2::{Digest, Sha256};

use crate::data::ClassEntry;
use crate::error::shorten;
use crate::{Error, Result, hex};

/// The most bytes that are taken out of a packed archive: some times what the largest such set has.
const MOST_UNPACKED: u64 = 1 << 30;

/// A file's path, for messages, and its bytes.
pub(super) struct WholeFile {
    pub path: PathBuf,
    pub bytes: Vec<u8>,
}

impl WholeFile {
    /// Reads a regular file.
    pub fn read(path: &Path) -> Result<WholeFile> {
        let failed = |source| Error::io(path, source);
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Err(Error::file(path, "is no regular file"));
        }
        let bytes = std::fs::read(path).map_err(failed)?;
        Ok(WholeFile { path: path.to_path_buf(), bytes })
    }

    /// An [`Error::File`] of this file.
    pub fn error(&self, detail: impl Into<String>) -> Error {
        Error::file(&self.path, detail)
    }

    /// Its text, less a byte order mark.
    pub fn text(&self) -> Result<&str> {
        let text = std::str::from_utf8(&self.bytes).map_err(|source| {
            self.error(format!("is not UTF-8 text (byte {})", source.valid_up_to()))
        })?;
        Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
    }

    /// Its lines that aren't blank, without blanks around them, with their numbers from 1.
    pub fn lines(&self) -> Result<Vec<(usize, &str)>> {
        let lines = self.text()?.lines().enumerate().map(|(i, line)| (i + 1, line.trim()));
        Ok(lines.filter(|(_, line)| !line.is_empty()).collect())
    }

    /// As [`lines`](WholeFile::lines), none of them there twice.
    pub fn distinct_lines(&self) -> Result<Vec<(usize, &str)>> {
        let lines = self.lines()?;
        let mut first = HashMap::new();
        for &(at, line) in &lines {
            if let Some(before) = first.insert(line, at) {
                let line = shorten(line, 80);
                return Err(self.error(format!("line {at} repeats line {before} ({line})")));
            }
        }
        Ok(lines)
    }

    /// Classes whose ids are its lines.
    pub fn classes(&self) -> Result<Vec<ClassEntry>> {
        let lines = self.distinct_lines()?;
        if lines.is_empty() {
            return Err(self.error("names no class"));
        }
        Ok(lines.into_iter().map(|(_, id)| spaced_class(id)).collect())
    }

    /// MD5, as publishers give it.
    pub fn md5(&self) -> String {
        hex(&Md5::digest(&self.bytes))
    }

    pub fn sha256(&self) -> String {
        hex(&Sha256::digest(&self.bytes))
    }

    /// A line on whether this is the file that was published.
    pub fn compared(&self, name: &str, published: &str) -> String {
        let md5 = self.md5();
        match md5 == published {
            true => format!("{name}: the published file (MD5 {md5})"),
            false => format!("{name}: not the published file (MD5 {md5}; published: {published})"),
        }
    }
}

/// A class whose name is its id with blanks for underscores.
pub(super) fn spaced_class(id: &str) -> ClassEntry {
    ClassEntry { id: id.into(), name: id.replace('_', " ") }
}

/// SHA-256 of the names of files and the SHA-256 of what each holds.
pub(super) fn fingerprint_of<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut digest = Sha256::new();
    for (name, sha256) in files {
        digest.update(format!("{name}\t{sha256}\n"));
    }
    hex(&digest.finalize())
}

/// Files of a packed tar archive by their names, folders left off, in the order of `names`.
pub(super) fn from_tar_gz(archive: &Path, names: &[&str]) -> Result<Vec<WholeFile>> {
    let broken = |source: std::io::Error| {
        Error::file(archive, format!("is truncated or no .tar.gz archive ({source})"))
    };
    let file = std::fs::File::open(archive).map_err(|source| Error::io(archive, source))?;
    let mut tar = tar::Archive::new(GzDecoder::new(file).take(MOST_UNPACKED));
    let mut found: Vec<Option<WholeFile>> = names.iter().map(|_| None).collect();
    for entry in tar.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if entry.size() > MOST_UNPACKED {
            let (shown, bytes) = (shorten(&path, 80), entry.size());
            let detail = format!(
                "holds {shown} of {bytes} bytes, more than the {MOST_UNPACKED} that are read"
            );
            return Err(Error::file(archive, detail));
        }
        let name = path.rsplit('/').next().unwrap_or_default();
        let Some(place) = names.iter().position(|wanted| *wanted == name) else { continue };
        if !entry.header().entry_type().is_file() {
            return Err(Error::file(
                archive,
                format!("holds {name} as something other than a file"),
            ));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(broken)?;
        if bytes.len() as u64 != entry.size() {
            return Err(Error::file(archive, format!("is truncated inside of {name}")));
        }
        let file = WholeFile { path: archive.join(name), bytes };
        if found[place].replace(file).is_some() {
            return Err(Error::file(archive, format!("holds {name} twice")));
        }
    }
    // The checksum stands at the end.
    std::io::copy(&mut tar.into_inner(), &mut std::io::sink()).map_err(broken)?;
    let missing = |name: &str| Error::file(archive, format!("lacks {name}"));
    found.into_iter().zip(names).map(|(file, name)| file.ok_or_else(|| missing(name))).collect()
}

/// Whether labels are of as many classes.
pub(super) fn check_labels(path: &Path, labels: &[u16], classes: usize) -> Result<()> {
    match labels.iter().position(|&label| usize::from(label) >= classes) {
        None if labels.is_empty() => Err(Error::file(path, "holds no image")),
        None => Ok(()),
        Some(i) => Err(Error::file(path, label_beyond(i, labels[i].into(), classes))),
    }
}

/// Half a sentence on a label that no class has.
pub(super) fn label_beyond(i: usize, label: i64, classes: usize) -> String {
    format!("image {i} has the label {label}, but there are {classes} classes")
}
