//! What lies in a folder of images: the images, and what is passed over.

use crate::error::shorten;
use crate::{Error, Result, hex};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// File name endings, without the dot and in lower case, that count as images.
const ENDINGS: [&str; 6] = ["jpg", "jpeg", "png", "webp", "bmp", "gif"];

/// The endings, for messages.
pub(super) const ENDINGS_IN_WORDS: &str = ".jpg, .jpeg, .png, .webp, .bmp or .gif";

/// How many kinds of what is passed over are named.
const NAMED: usize = 8;

/// Something in a directory.
pub(super) struct Item {
    pub name: String,
    pub path: PathBuf,
    pub kind: ItemKind,
}

/// What an [`Item`] is, links followed.
pub(super) enum ItemKind {
    Folder,
    /// With an ending that is read.
    Image(FileState),
    /// With another ending, in lower case with its dot, or none (empty).
    File(String),
    /// Its name starts with a dot.
    Hidden,
    /// A link to nothing.
    BrokenLink,
    /// A link to nothing, or to itself, with the ending of an image.
    Missing(Error),
    /// A link to a folder that it lies in.
    LinkBack,
    /// A pipe, a socket, a device.
    Special,
}

/// By what a file is known to be the same as before, unless somebody took pains.
#[derive(Clone, Copy)]
pub(super) struct FileState {
    pub bytes: u64,
    /// When it was last written to, in nanoseconds since 1970; 0 where the file system doesn't say.
    pub modified: u64,
}

impl FileState {
    pub(super) fn of(metadata: &std::fs::Metadata) -> FileState {
        let since = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let modified = since.map_or(0, |since| since.as_nanos() as u64);
        FileState { bytes: metadata.len(), modified }
    }
}

/// SHA-256, in hexadecimal, of a set's fingerprint and of when each of its files was last written to.
pub(super) fn state_of(fingerprint: &str, files: impl Iterator<Item = FileState>) -> String {
    let mut digest = Sha256::new();
    digest.update(fingerprint);
    for file in files {
        digest.update(file.modified.to_le_bytes());
    }
    hex(&digest.finalize())
}

/// What a directory holds, sorted by the bytes of its names.
///
/// # Errors
/// [`Error::Io`] naming what can't be read, links to images that aren't there among it; [`Error::File`] for a name that
/// isn't UTF-8.
pub(super) fn list(dir: &Path) -> Result<Vec<Item>> {
    let is_there = |item: Item| match item.kind {
        ItemKind::Missing(error) => Err(error),
        _ => Ok(item),
    };
    list_all(dir)?.into_iter().map(is_there).collect()
}

/// As [`list`], with images that aren't there as [`ItemKind::Missing`].
///
/// # Errors
/// Those of [`list`] about others.
pub(super) fn list_all(dir: &Path) -> Result<Vec<Item>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|source| Error::io(dir, source))? {
        let path = entry.map_err(|source| Error::io(dir, source))?.path();
        let name = path.file_name().unwrap_or_default();
        let (name, is_text) = (name.to_string_lossy().into_owned(), name.to_str().is_some());
        let kind = ItemKind::of(&name, &path)?;
        // What is read is kept by its name.
        if !is_text && matches!(kind, ItemKind::Folder | ItemKind::Image(_)) {
            return Err(Error::file(path, "has a name that is not UTF-8"));
        }
        found.push(Item { name, path, kind });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The ending of a file's name, without the dot and in lower case.
fn ending(name: &str) -> Option<String> {
    name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase())
}

fn is_image(ending: &str) -> bool {
    ENDINGS.contains(&ending)
}

impl ItemKind {
    fn of(name: &str, path: &Path) -> Result<ItemKind> {
        if name.starts_with('.') {
            return Ok(ItemKind::Hidden);
        }
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            // An image that is away is missed; other links may lead where they like.
            Err(source) if path.is_symlink() => {
                return match ending(name).is_some_and(|ending| is_image(&ending)) {
                    true => Ok(ItemKind::Missing(Error::io(path, source))),
                    false if source.kind() == std::io::ErrorKind::NotFound => {
                        Ok(ItemKind::BrokenLink)
                    }
                    false => Err(Error::io(path, source)),
                };
            }
            Err(source) => return Err(Error::io(path, source)),
        };
        if metadata.is_dir() {
            return Ok(ItemKind::Folder);
        }
        if !metadata.is_file() {
            return Ok(ItemKind::Special);
        }
        Ok(match ending(name) {
            Some(ending) if is_image(&ending) => ItemKind::Image(FileState::of(&metadata)),
            Some(ending) => ItemKind::File(format!(".{ending}")),
            None => ItemKind::File(String::new()),
        })
    }

    /// What several are called, and one.
    fn words(&self) -> [String; 2] {
        let [many, one] = match self {
            ItemKind::Folder => ["folders", "folder"],
            ItemKind::Image(_) => ["images", "image"],
            ItemKind::File(ending) if ending.is_empty() => {
                ["files without an ending", "file without an ending"]
            }
            ItemKind::File(ending) => [ending.as_str(); 2],
            ItemKind::Hidden => ["hidden", "hidden"],
            ItemKind::BrokenLink | ItemKind::Missing(_) => ["broken links", "broken link"],
            ItemKind::LinkBack => ["links back to a folder above", "link back to a folder above"],
            ItemKind::Special => ["pipes or devices", "pipe or device"],
        };
        [many.into(), one.into()]
    }
}

/// What was passed over: how many of each kind, and the first of them.
#[derive(Default)]
pub(super) struct PassedOver {
    kinds: BTreeMap<[String; 2], (usize, String)>,
}

impl PassedOver {
    /// Counts an item, by its path below the root, the folder `inside` before its name.
    pub(super) fn add(&mut self, inside: Option<&str>, item: &Item) {
        let mut words = item.kind.words();
        let path = match inside {
            Some(folder) => format!("{folder}/{}", item.name),
            None => {
                words = words.map(|word| format!("{word} beside the class folders"));
                item.name.clone()
            }
        };
        self.kinds.entry(words).or_insert((0, path)).0 += 1;
    }

    /// All of it in a line, the most frequent first; `None` if there is nothing.
    pub(super) fn line(&self) -> Option<String> {
        let mut kinds: Vec<_> = self.kinds.iter().collect();
        kinds.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
        let part = |(words, (count, first)): &(&[String; 2], &(usize, String))| {
            let [many, one] = (*words).clone().map(|word| shorten(&word, 40));
            let first = shorten(first, 80);
            match count {
                1 => format!("1 {one} ({first})"),
                _ => format!("{count} {many} ({first}, …)"),
            }
        };
        let mut parts: Vec<String> = kinds.iter().take(NAMED).map(part).collect();
        let others: usize = kinds.iter().skip(NAMED).map(|(_, (count, _))| count).sum();
        if others > 0 {
            parts.push(format!("{others} of other kinds"));
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}
