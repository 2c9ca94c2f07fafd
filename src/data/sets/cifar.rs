//! CIFAR-10 and CIFAR-100 (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009):
//! 32×32 images in batches, pickled (the Python version) or plain (the binary version).
//!
//! | version | folder | images | classes |
//! |---|---|---|---|
//! | Python | `cifar-10-batches-py` | `data_batch_1` to `_5`, `test_batch` | `batches.meta` |
//! | binary | `cifar-10-batches-bin` | the same with `.bin` | `batches.meta.txt` |
//! | Python | `cifar-100-python` | `train`, `test` | `meta` |
//! | binary | `cifar-100-binary` | `train.bin`, `test.bin` | `fine_label_names.txt` |

use std::path::{Path, PathBuf};

use super::planes::{PlaneOrder, PlanePart, PlaneSet};
use super::reading::{
    WholeFile, check_labels, fingerprint_of, from_tar_gz, label_beyond, spaced_class,
};
use super::{SetOnDisk, Sighting};
use crate::Result;
use crate::checkpoint::PickledDict;
use crate::data::{ClassEntry, Dataset};
use crate::error::shorten;

/// Rows and columns of an image.
const SIDE: usize = 32;
/// Bytes of an image's three planes.
const PLANES: usize = 3 * SIDE * SIDE;

/// A file's name and the MD5 that torchvision holds it against; empty where none is known.
type PublishedFile = (&'static str, &'static str);

/// One of the two sets.
pub(super) struct CifarKind {
    versions: [CifarVersion; 2],
}

/// One of the two versions that a set is published in.
struct CifarVersion {
    folder: &'static str,
    archive: PublishedFile,
    train: &'static [PublishedFile],
    test: &'static [PublishedFile],
    /// Names of the classes.
    meta: PublishedFile,
    form: CifarForm,
}

/// How a version keeps its images.
enum CifarForm {
    /// Pickled dicts with the labels under one key, the classes' names in `meta` under another.
    Pickled { labels: &'static str, names: &'static str },
    /// So many bytes of labels before each image, the last of which is its class.
    Binary { label_bytes: usize },
}

pub(super) const CIFAR_10: CifarKind = CifarKind {
    versions: [
        CifarVersion {
            folder: "cifar-10-batches-py",
            archive: ("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),
            train: &[
                ("data_batch_1", "c99cafc152244af753f735de768cd75f"),
                ("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
                ("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
                ("data_batch_4", "634d18415352ddfa80567beed471001a"),
                ("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
            ],
            test: &[("test_batch", "40351d587109b95175f43aff81a1287e")],
            meta: ("batches.meta", "5ff9c542aee3614f3951f8cda6e48888"),
            form: CifarForm::Pickled { labels: "labels", names: "label_names" },
        },
        CifarVersion {
            folder: "cifar-10-batches-bin",
            archive: ("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),
            train: &[
                ("data_batch_1.bin", ""),
                ("data_batch_2.bin", ""),
                ("data_batch_3.bin", ""),
                ("data_batch_4.bin", ""),
                ("data_batch_5.bin", ""),
            ],
            test: &[("test_batch.bin", "")],
            meta: ("batches.meta.txt", ""),
            form: CifarForm::Binary { label_bytes: 1 },
        },
    ],
};

pub(super) const CIFAR_100: CifarKind = CifarKind {
    versions: [
        CifarVersion {
            folder: "cifar-100-python",
            archive: ("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),
            train: &[("train", "16019d7e3df5f24257cddd939b257f8d")],
            test: &[("test", "f0ef6b0ae62326f3e7ffdfab6717acfc")],
            meta: ("meta", "7973b15100ade9c7d40fb424638fde48"),
            form: CifarForm::Pickled { labels: "fine_labels", names: "fine_label_names" },
        },
        CifarVersion {
            folder: "cifar-100-binary",
            archive: ("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),
            train: &[("train.bin", "")],
            test: &[("test.bin", "")],
            meta: ("fine_label_names.txt", ""),
            form: CifarForm::Binary { label_bytes: 2 },
        },
    ],
};

/// A version in a place.
struct Cifar {
    version: &'static CifarVersion,
    /// A folder, or an archive.
    place: PathBuf,
}

impl CifarVersion {
    fn files(&self) -> impl Iterator<Item = &PublishedFile> {
        self.train.iter().chain(self.test).chain([&self.meta])
    }

    /// Whether a folder's files are of this version: files of these names, since other sets have folders `train`
    /// and `test`, and more than one of them, since one of them may have the name by chance.
    fn look(&'static self, folder: &Path) -> Sighting {
        let is_there = |(name, _): &&PublishedFile| folder.join(name).is_file();
        let there = self.files().filter(is_there).count();
        let is_named = folder.file_name().is_some_and(|name| name == self.folder);
        match self.files().find(|file| !is_there(file)) {
            None => Sighting::Whole(Box::new(Cifar { version: self, place: folder.into() })),
            Some((name, _)) if there > 1 || is_named && folder.is_dir() => {
                Sighting::Partial(format!("{} lacks {name}", folder.display()))
            }
            Some(_) => Sighting::Nothing,
        }
    }
}

/// What lies in a folder, in the one of a version's name in it, or in an archive.
pub(super) fn look(kind: &'static CifarKind, root: &Path) -> Sighting {
    let archived = |version: &'static CifarVersion, place: PathBuf| {
        let is_named = place.file_name().is_some_and(|name| name == version.archive.0);
        (is_named && place.is_file()).then_some(Cifar { version, place })
    };
    let mut seen = Vec::new();
    for version in &kind.versions {
        if let Some(set) = archived(version, root.to_path_buf()) {
            return Sighting::Whole(Box::new(set));
        }
        for folder in [root.to_path_buf(), root.join(version.folder)] {
            match version.look(&folder) {
                Sighting::Nothing => {}
                sighting => seen.push((version.folder, sighting)),
            }
        }
    }
    // An archive usually stays beside what was unpacked from it.
    if seen.is_empty() {
        for version in &kind.versions {
            if let Some(set) = archived(version, root.join(version.archive.0)) {
                seen.push((version.archive.0, Sighting::Whole(Box::new(set))));
            }
        }
    }
    if let [(first, _), (second, _), ..] = seen.as_slice() {
        let detail = format!("holds it twice ({first} and {second}): name one of them");
        return Sighting::Partial(detail);
    }
    seen.pop().map_or(Sighting::Nothing, |(_, sighting)| sighting)
}

impl Cifar {
    /// Files of the set.
    fn read(&self, files: &[PublishedFile]) -> Result<Vec<WholeFile>> {
        let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
        match self.place.is_file() {
            true => from_tar_gz(&self.place, &names),
            false => names.iter().map(|name| WholeFile::read(&self.place.join(name))).collect(),
        }
    }

    fn classes(&self, meta: &WholeFile) -> Result<Vec<ClassEntry>> {
        let CifarForm::Pickled { names, .. } = self.version.form else { return meta.classes() };
        let dict = PickledDict::read(&meta.bytes).map_err(|detail| meta.error(detail))?;
        let ids = dict.texts(names).map_err(|detail| meta.error(detail))?;
        let ids = ids.ok_or_else(|| meta.error(format!("it lacks the key `{names}`")))?;
        let is_twice = |(i, id): &(usize, &String)| ids[..*i].contains(id);
        if let Some((_, id)) = ids.iter().enumerate().find(is_twice) {
            return Err(meta.error(format!("names the class {} twice", shorten(id, 40))));
        }
        match ids.is_empty() {
            true => Err(meta.error("names no class")),
            false => Ok(ids.iter().map(|id| spaced_class(id)).collect()),
        }
    }
}

/// The images of a pickled batch.
fn pickled(
    file: &WholeFile,
    name: &str,
    labels_key: &str,
    classes: usize,
) -> std::result::Result<PlanePart, String> {
    let dict = PickledDict::read(&file.bytes)?;
    let rows = dict.rows("data", PLANES)?;
    let count = rows.len() / PLANES;
    let labels = dict.integers(labels_key)?;
    let labels = labels.ok_or_else(|| format!("it lacks the key `{labels_key}`"))?;
    if labels.len() != count {
        return Err(format!("has {} labels for {count} images", labels.len()));
    }
    let labels = labels
        .into_iter()
        .enumerate()
        .map(|(i, label)| u16::try_from(label).map_err(|_| label_beyond(i, label, classes)));
    let labels = labels.collect::<std::result::Result<_, _>>()?;
    let file_names = dict.texts("filenames")?.unwrap_or_default();
    if !file_names.is_empty() && file_names.len() != count {
        return Err(format!("has {} filenames for {count} images", file_names.len()));
    }
    let file_names = file_names.iter().map(|name| shorten(name, 200)).collect();
    Ok(PlanePart { name: name.into(), bytes: rows, skip: 0, labels, file_names })
}

/// The images of a binary batch.
fn binary(file: WholeFile, name: &str, label_bytes: usize) -> Result<PlanePart> {
    let record = label_bytes + PLANES;
    let bytes = file.bytes.len();
    if !bytes.is_multiple_of(record) {
        return Err(file.error(format!(
            "is truncated or no such batch: its {bytes} bytes aren't a multiple of {record}"
        )));
    }
    let label = |record: &[u8]| u16::from(record[label_bytes - 1]);
    let labels = file.bytes.chunks_exact(record).map(label).collect();
    let name = name.trim_end_matches(".bin").into();
    Ok(PlanePart { name, bytes: file.bytes, skip: label_bytes, labels, file_names: Vec::new() })
}

impl SetOnDisk for Cifar {
    fn splits(&self) -> Vec<String> {
        ["train", "test"].map(String::from).into()
    }

    fn open(&self, split: &str) -> Result<Box<dyn Dataset>> {
        let batches = if split == "train" { self.version.train } else { self.version.test };
        let mut files = self.read(&[&[self.version.meta], batches].concat())?;
        let hashes: Vec<String> = files.iter().map(WholeFile::sha256).collect();
        let names = [self.version.meta].into_iter().chain(batches.iter().copied());
        let named = names.map(|(name, _)| name).zip(hashes.iter().map(String::as_str));
        let fingerprint = fingerprint_of(named);
        let classes = self.classes(&files.remove(0))?;
        let mut parts = Vec::with_capacity(files.len());
        for (file, (name, _)) in files.into_iter().zip(batches) {
            let path = file.path.clone();
            let part = match self.version.form {
                CifarForm::Pickled { labels, .. } => pickled(&file, name, labels, classes.len())
                    .map_err(|detail| file.error(detail))?,
                CifarForm::Binary { label_bytes } => binary(file, name, label_bytes)?,
            };
            check_labels(&path, &part.labels, classes.len())?;
            parts.push(part);
        }
        Ok(Box::new(PlaneSet { side: SIDE, order: PlaneOrder::Rows, classes, parts, fingerprint }))
    }

    fn verify(&self) -> Result<Vec<String>> {
        let version = self.version;
        if self.place.is_file() {
            let (name, md5) = version.archive;
            return Ok(vec![WholeFile::read(&self.place)?.compared(name, md5)]);
        }
        let mut lines = Vec::new();
        for file in version.files() {
            let (name, md5) = *file;
            for whole in self.read(&[*file])? {
                lines.push(match md5 {
                    "" => format!("{name}: no published hash is known (MD5 {})", whole.md5()),
                    md5 => whole.compared(name, md5),
                });
            }
        }
        Ok(lines)
    }
}
