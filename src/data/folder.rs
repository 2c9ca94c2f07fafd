//! Data sets in folders: one folder a class, one file an image.

use super::listing::{ItemKind, PassedOver, list};
use super::{ClassEntry, ClassInfo, ClassList, Dataset, Image8, decode_file, hex};
use crate::progress::Progress;
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// A file of an [`ImageFolder`].
struct Entry {
    /// File name inside the class folder.
    name: String,
    class: u32,
    bytes: u64,
}

/// `dir/<class>/<image>`: classes are the folders sorted by name, images the files in each that end
/// in .jpg, .jpeg or .png (in any case), sorted by name; both sorts are by bytes. Anything else, and
/// names that start with a dot, are passed over, and counted.
pub struct ImageFolder {
    root: PathBuf,
    classes: Vec<ClassInfo>,
    entries: Vec<Entry>,
    passed_over: PassedOver,
}

impl ImageFolder {
    /// Lists the images of a folder; nothing is decoded yet. With a class list, each class gets the
    /// name and index of the entry that bears the folder's name as its id; classes that the list
    /// doesn't hold keep their folder's name and no index.
    ///
    /// # Errors
    /// [`Error::Io`] naming what can't be read; [`Error::File`] if there are no class folders or a
    /// class has no image.
    pub fn open(dir: &Path, class_list: Option<&ClassList>) -> Result<Self> {
        let mut passed_over = PassedOver::default();
        let mut folders = Vec::new();
        for item in list(dir)? {
            match item.kind {
                ItemKind::Folder => folders.push((item.name, item.path)),
                _ => passed_over.add(None, &item),
            }
        }
        if folders.is_empty() {
            let only =
                passed_over.line().map_or_else(String::new, |line| format!("; it holds {line}"));
            let detail = "holds no class folders; expected <class>/<image>.jpg (or .jpeg, .png)";
            return Err(Error::file(dir, format!("{detail}{only}")));
        }
        let mut classes = Vec::with_capacity(folders.len());
        let mut entries = Vec::new();
        for (class, (id, path)) in folders.into_iter().enumerate() {
            let before = entries.len();
            for item in list(&path)? {
                match item.kind {
                    ItemKind::Image(bytes) => {
                        entries.push(Entry { name: item.name, class: class as u32, bytes });
                    }
                    _ => passed_over.add(Some(&id), &item),
                }
            }
            if entries.len() == before {
                let line = passed_over.line();
                let only =
                    line.map_or_else(String::new, |line| format!("; passed over so far: {line}"));
                let detail = format!("holds no .jpg, .jpeg or .png file{only}");
                return Err(Error::file(path, detail));
            }
            let index = class_list.and_then(|list| list.index_of(&id));
            let name = match (class_list, index) {
                (Some(list), Some(index)) => list.entries()[index].name.clone(),
                _ => id.clone(),
            };
            classes.push(ClassInfo { id, name, index });
        }
        Ok(ImageFolder { root: dir.to_path_buf(), classes, entries, passed_over })
    }

    /// What lies in the folder and isn't read, in a line that names the folder; `None` if there is nothing.
    /// Whoever opens a folder says it.
    pub fn passed_over(&self) -> Option<String> {
        let line = self.passed_over.line()?;
        Some(format!("{}: passed over {line}", self.root.display()))
    }

    /// The same images for a model of so many `classes`: as they are if the folders are as many; else labelled
    /// by their places in the class list, if that is as long (some of ImageNet's folders for a model of all).
    ///
    /// # Errors
    /// [`Error::Usage`] where neither has so many classes; [`Error::File`] for a folder that isn't in the list.
    pub fn for_classes(self, classes: usize, class_list: Option<&ClassList>) -> Result<Self> {
        let found = self.classes.len();
        if found == classes {
            return Ok(self);
        }
        let root = self.root.display();
        let Some(list) = class_list.filter(|list| list.entries().len() == classes) else {
            let hint = match class_list {
                Some(list) => format!(", the class list {}", list.entries().len()),
                None => "; --class-list says which of those they are".into(),
            };
            return Err(Error::usage(format!(
                "{root} has {found} classes, the checkpoint {classes}{hint}"
            )));
        };
        let mut indices = Vec::with_capacity(found);
        for ClassInfo { id, .. } in &self.classes {
            let index = list.index_of(id).ok_or_else(|| {
                Error::file(
                    self.root.join(id),
                    "isn't in the class list, so that its label isn't known",
                )
            })?;
            indices.push(index as u32);
        }
        let info = |(index, entry): (usize, &ClassEntry)| ClassInfo {
            id: entry.id.clone(),
            name: entry.name.clone(),
            index: Some(index),
        };
        let relabel = |entry: Entry| Entry { class: indices[entry.class as usize], ..entry };
        Ok(ImageFolder {
            classes: list.entries().iter().enumerate().map(info).collect(),
            entries: self.entries.into_iter().map(relabel).collect(),
            root: self.root,
            passed_over: self.passed_over,
        })
    }

    /// Path of image `i`, the root included.
    pub fn file(&self, i: usize) -> PathBuf {
        let entry = &self.entries[i];
        self.root.join(&self.classes[entry.class as usize].id).join(&entry.name)
    }
}

impl Dataset for ImageFolder {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn classes(&self) -> &[ClassInfo] {
        &self.classes
    }

    fn label(&self, i: usize) -> usize {
        self.entries[i].class as usize
    }

    fn image(&self, i: usize) -> Result<Image8> {
        decode_file(&self.file(i))
    }

    fn path(&self, i: usize) -> String {
        let entry = &self.entries[i];
        format!("{}/{}", self.classes[entry.class as usize].id, entry.name)
    }

    /// SHA-256 of the list of files, one line `<class>/<name><TAB><size in bytes>` each; what the
    /// files hold is not read.
    fn fingerprint(&self) -> String {
        let mut digest = Sha256::new();
        for (i, entry) in self.entries.iter().enumerate() {
            digest.update(format!("{}\t{}\n", self.path(i), entry.bytes));
        }
        hex(&digest.finalize())
    }
}

/// Says what was passed over in a folder, if anything was.
pub fn say_passed_over(folder: &ImageFolder, progress: &dyn Progress) {
    if let Some(line) = folder.passed_over() {
        progress.line(&line);
    }
}

/// Opens `root/train`.
///
/// # Errors
/// [`Error::File`] if there is none, and the errors of [`ImageFolder::open`].
pub fn open_train(root: &Path, class_list: Option<&ClassList>) -> Result<ImageFolder> {
    let train = root.join("train");
    if !train.is_dir() {
        return Err(Error::file(root, "has no folder named train"));
    }
    ImageFolder::open(&train, class_list)
}

/// Opens the first of `root/val`, `root/validation` and `root/test` that is there.
///
/// # Errors
/// [`Error::File`] if there is none, and the errors of [`ImageFolder::open`].
pub fn open_held_out(root: &Path, class_list: Option<&ClassList>) -> Result<ImageFolder> {
    let held_out = ["val", "validation", "test"].map(|name| root.join(name));
    let Some(val) = held_out.iter().find(|path| path.is_dir()) else {
        return Err(Error::file(root, "has no folder named val, validation or test"));
    };
    ImageFolder::open(val, class_list)
}

/// Opens `root/train` and, as the second set, the first of `root/val`, `root/validation` and
/// `root/test` that is there.
///
/// # Errors
/// [`Error::File`] if one of the two is missing or their classes differ, and the errors of
/// [`ImageFolder::open`].
pub fn open_split(
    root: &Path,
    class_list: Option<&ClassList>,
) -> Result<(ImageFolder, ImageFolder)> {
    let train_set = open_train(root, class_list)?;
    let val_set = open_held_out(root, class_list)?;
    let (train, val) = (&train_set.root, &val_set.root);
    let missing = |from: &ImageFolder, other: &ImageFolder| {
        let lacks = |id: &String| other.classes.iter().all(|class| class.id != *id);
        from.classes.iter().map(|class| &class.id).find(|id| lacks(id)).cloned()
    };
    if let Some(id) = missing(&train_set, &val_set) {
        return Err(Error::file(val, format!("lacks the class {id} that train has")));
    }
    if let Some(id) = missing(&val_set, &train_set) {
        return Err(Error::file(train, format!("lacks the class {id} that {} has", val.display())));
    }
    Ok((train_set, val_set))
}
