//! Tar archives in WebDataset's convention (<https://github.com/webdataset/webdataset>): the files of a sample follow one
//! another and share their name up to the first dot, `KEY.jpg` and `KEY.cls` say.
//!
//! A sample is an image (`.jpg`, `.jpeg`, `.png`, `.webp`) and a label: `.cls`, a whole number as text, or `.json` with a
//! whole number under `label` or `cls` (one without either is no label). Other files of a sample aren't read. Classes are the lines of a `classes.txt` beside the
//! archives or in the folder that is opened, else the numbers up to the largest label of the split.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::members::{ArchiveSet, ArchivedImage};
use super::reading::WholeFile;
use super::tar_index::members;
use super::{SetOnDisk, Sighting};
use crate::checkpoint::map_file;
use crate::data::{ClassEntry, Dataset};
use crate::error::shorten;
use crate::{Error, Result, hex};

/// Words in names of folders and archives, and the splits that they say.
const SPLITS: [(&str, &str); 5] = [
    ("train", "train"),
    ("val", "val"),
    ("validation", "validation"),
    ("valid", "validation"),
    ("test", "test"),
];
/// The split of archives whose names say none.
const ALL: &str = "all";
/// Labels from here on are taken for a mistake.
const MOST_CLASSES: u64 = 1 << 20;

struct Shards {
    /// Folders that `classes.txt` may lie in.
    folders: Vec<PathBuf>,
    splits: BTreeMap<String, Vec<PathBuf>>,
}

/// The split that a name says.
fn split_of(name: &str) -> &'static str {
    let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
    let split = |word| SPLITS.into_iter().find(|(known, _)| *known == word);
    words.find_map(split).map_or(ALL, |(_, split)| split)
}

/// The archives in a folder, sorted by name; those in which ImageNet is distributed aren't meant.
fn archives_in(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    if !folder.is_dir() {
        return Ok(found);
    }
    for entry in std::fs::read_dir(folder).map_err(|source| Error::io(folder, source))? {
        let path = entry.map_err(|source| Error::io(folder, source))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_meant =
            name.ends_with(".tar") && !name.starts_with(['.']) && !name.starts_with("ILSVRC2012_");
        if is_meant && path.is_file() {
            found.push((name, path));
        }
    }
    found.sort();
    Ok(found)
}

pub(super) fn look(root: &Path) -> Result<Sighting> {
    let mut splits: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    let name = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if root.is_file() && name.ends_with(".tar") && !name.starts_with("ILSVRC2012_") {
        folders = root.parent().map(Path::to_path_buf).into_iter().collect();
        splits.insert(split_of(&name).into(), vec![root.to_path_buf()]);
    }
    for (name, path) in archives_in(root)? {
        splits.entry(split_of(&name).into()).or_default().push(path);
    }
    for (word, split) in SPLITS {
        let folder = root.join(word);
        let archives = archives_in(&folder)?;
        if archives.is_empty() {
            continue;
        }
        if splits.contains_key(split) {
            return Ok(Sighting::Partial(format!(
                "has the split {split} twice, beside {} and in it",
                folder.display()
            )));
        }
        splits.insert(split.into(), archives.into_iter().map(|(_, path)| path).collect());
        folders.push(folder);
    }
    for archives in splits.values() {
        if let Some(missing) = missing_number(archives) {
            return Ok(Sighting::Partial(format!("lacks the archive {missing}")));
        }
    }
    Ok(match splits.is_empty() {
        true => Sighting::Nothing,
        false => Sighting::Whole(Box::new(Shards { folders, splits })),
    })
}

/// An archive that is missing between two whose names differ in a number only.
fn missing_number(archives: &[PathBuf]) -> Option<String> {
    let numbered = |path: &PathBuf| -> Option<(String, usize, u64)> {
        let stem = path.file_stem()?.to_str()?;
        let start = stem.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        Some((stem[..start].to_string(), stem.len() - start, stem[start..].parse().ok()?))
    };
    archives.windows(2).find_map(|pair| {
        let ((name, digits, before), (next_name, _, after)) =
            (numbered(&pair[0])?, numbered(&pair[1])?);
        let is_gap = name == next_name && before + 1 < after;
        is_gap.then(|| format!("{name}{:0digits$}.tar", before + 1))
    })
}

/// What has been read of a sample.
#[derive(Default)]
struct Sample {
    key: String,
    image: Option<(String, usize, usize)>,
    label: Option<u64>,
}

/// A path's key, and its ending; none for a file without one.
fn key_of(path: &str) -> Option<(&str, String)> {
    let name_at = path.rfind('/').map_or(0, |slash| slash + 1);
    let dot = name_at + path[name_at..].find('.')?;
    (dot > name_at).then(|| (&path[..dot], path[dot + 1..].to_ascii_lowercase()))
}

/// A label out of its file, `Some(None)` for a `.json` of other things; `None` where it can't be read as one number.
fn label_of(ending: &str, bytes: &[u8]) -> Option<Option<u64>> {
    if ending == "cls" {
        return std::str::from_utf8(bytes).ok()?.trim().parse().ok().map(Some);
    }
    let json: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let labels: Vec<u64> = ["label", "cls"]
        .into_iter()
        .filter_map(|key| json.get(key))
        .map(serde_json::Value::as_u64)
        .collect::<Option<_>>()?;
    match labels.as_slice() {
        [] => Some(None),
        [label] => Some(Some(*label)),
        [a, b] if a == b => Some(Some(*a)),
        _ => None,
    }
}

/// The samples of an archive. Errors are half sentences about it.
fn samples(bytes: &[u8]) -> std::result::Result<Vec<Sample>, String> {
    let (mut found, mut keys) = (Vec::<Sample>::new(), HashSet::new());
    for member in members(bytes)? {
        let shown = shorten(&member.path, 80);
        let Some((key, ending)) = key_of(&member.path) else { continue };
        if found.last().is_none_or(|sample| sample.key != key) {
            if !keys.insert(key.to_string()) {
                return Err(format!("has the key of {shown} twice, with others in between"));
            }
            found.push(Sample { key: key.into(), ..Sample::default() });
        }
        let Some(sample) = found.last_mut() else { continue };
        match ending.as_str() {
            "jpg" | "jpeg" | "png" | "webp" => {
                let before = sample.image.replace((member.path, member.start, member.len));
                if before.is_some() {
                    return Err(format!("has two images of one key ({shown})"));
                }
            }
            "cls" | "json" => {
                let label = label_of(&ending, &bytes[member.start..member.start + member.len]);
                let label = label.filter(|label| label.is_none_or(|label| label < MOST_CLASSES));
                let Some(label) = label.ok_or_else(|| format!("has no label in {shown}"))? else {
                    continue;
                };
                if sample.label.replace(label).is_some_and(|other| other != label) {
                    return Err(format!("has two labels of one key ({shown})"));
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

impl Shards {
    fn classes(&self, most: u32) -> Result<Vec<ClassEntry>> {
        let lists = self.folders.iter().map(|folder| folder.join("classes.txt"));
        let Some(list) = lists.into_iter().find(|list| list.exists()) else {
            return Ok((0..=most).map(|label| ClassEntry::unnamed(&label.to_string())).collect());
        };
        let list = WholeFile::read(&list)?;
        let classes = list.classes()?;
        match (most as usize) < classes.len() {
            true => Ok(classes),
            false => {
                let count = classes.len();
                Err(list.error(format!("names {count} classes, but a sample has the label {most}")))
            }
        }
    }
}

impl SetOnDisk for Shards {
    fn splits(&self) -> Vec<String> {
        self.splits.keys().cloned().collect()
    }

    fn open(&self, split: &str) -> Result<Box<dyn Dataset>> {
        let (mut archives, mut images) = (Vec::new(), Vec::new());
        let mut digest = Sha256::new();
        for (path, place) in self.splits[split].iter().zip(0..) {
            let bytes = map_file(path)?;
            let wrong = |detail: String| Error::file(path, detail);
            digest.update(format!("{}\n", path.file_name().unwrap_or_default().display()));
            for Sample { key, image, label } in samples(&bytes).map_err(wrong)? {
                let key = shorten(&key, 80);
                let lacks = |what: &str| wrong(format!("has a sample without {what}: {key}"));
                let (path, start, len) =
                    image.ok_or_else(|| lacks("an image (.jpg, .jpeg, .png or .webp)"))?;
                let label = label.ok_or_else(|| lacks("a label (.cls or .json)"))? as u32;
                digest.update(format!("{label}\t{path}\t{len}\n"));
                images.push(ArchivedImage { archive: place, start, len, label, path });
            }
            archives.push((path.clone(), bytes));
        }
        let Some(most) = images.iter().map(|image| image.label).max() else {
            let path = &self.splits[split][0];
            return Err(Error::file(
                path,
                format!("holds no sample, nor does any other of {split}"),
            ));
        };
        let classes = self.classes(most)?;
        for class in &classes {
            digest.update(format!("{}\n", class.id));
        }
        let fingerprint = hex(&digest.finalize());
        Ok(Box::new(ArchiveSet { archives, classes, images, fingerprint }))
    }

    fn may_lie_beside(&self) -> bool {
        let numbered = |path: &PathBuf| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            stem.ends_with(|c: char| c.is_ascii_digit())
        };
        !self.splits.values().flatten().any(numbered)
    }

    fn verify(&self) -> Result<Vec<String>> {
        let line = |(split, archives): (&String, &Vec<PathBuf>)| match archives.len() {
            1 => format!("{split}: 1 archive"),
            count => format!("{split}: {count} archives"),
        };
        Ok(self.splits.iter().map(line).collect())
    }
}
