//! Data sets in folders: one folder a class, one file an image.

use super::{ClassEntry, ClassList, Dataset, Image8, Numbering, decode_file, hex};
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// File name endings, without the dot and in lower case, that count as images.
const ENDINGS: [&str; 3] = ["jpg", "jpeg", "png"];

/// A file of an [`ImageFolder`].
struct Entry {
    /// File name inside the class folder.
    name: String,
    /// The folder, by its place among them.
    folder: u32,
    bytes: u64,
}

/// `dir/<class>/<image>`: one folder a class, sorted by name, images the files in each that end
/// in .jpg, .jpeg or .png (in any case), sorted by name; both sorts are by bytes. Names that start
/// with a dot are passed over.
pub struct ImageFolder {
    root: PathBuf,
    folders: Vec<String>,
    /// The class of each folder.
    labels: Vec<usize>,
    classes: Vec<ClassEntry>,
    entries: Vec<Entry>,
}

impl ImageFolder {
    /// Lists the images of a folder; nothing is decoded yet. Its classes are its folders, in their order, as in
    /// torchvision; a class list gives them ids and names.
    ///
    /// # Errors
    /// [`Error::Io`] naming what can't be read; [`Error::File`] if there are no class folders or a
    /// class has no image; [`Error::Usage`] for a folder that isn't in the list, or two of one class.
    pub fn open(dir: &Path, class_list: Option<&ClassList>) -> Result<Self> {
        let mut folders = Vec::new();
        for (name, path, metadata) in list(dir)? {
            if metadata.is_dir() {
                folders.push((name, path));
            }
        }
        if folders.is_empty() {
            let detail = "holds no class folders; expected <class>/<image>.jpg (or .jpeg, .png)";
            return Err(Error::file(dir, detail));
        }
        let mut names = Vec::with_capacity(folders.len());
        let mut entries = Vec::new();
        for (folder, (id, path)) in folders.into_iter().enumerate() {
            let before = entries.len();
            for (name, _, metadata) in list(&path)? {
                if metadata.is_file() && is_image(&name) {
                    entries.push(Entry { name, folder: folder as u32, bytes: metadata.len() });
                }
            }
            if entries.len() == before {
                return Err(Error::file(path, "holds no .jpg, .jpeg or .png file"));
            }
            names.push(id);
        }
        let (root, count) = (dir.to_path_buf(), names.len());
        let set = ImageFolder {
            root,
            classes: names.iter().map(ClassEntry::unnamed).collect(),
            folders: names,
            labels: (0..count).collect(),
            entries,
        };
        match class_list {
            Some(list) => set.named(list),
            None => Ok(set),
        }
    }

    /// The same images, their classes under the ids and names of a list.
    fn named(self, list: &ClassList) -> Result<Self> {
        let numbering =
            Numbering { of: "the class list", count: list.len(), own: None, given: Some(list) };
        let indices = self.number_folders(&numbering)?;
        let classes = indices.into_iter().map(|index| list.entries()[index].clone()).collect();
        Ok(ImageFolder { classes, ..self })
    }

    /// The same images, labelled with the numbers that their classes have in a network; where the network
    /// has more classes than there are folders, some of them have no image.
    ///
    /// # Errors
    /// As [`Numbering::numbers`].
    pub fn numbered(self, numbering: &Numbering<'_>) -> Result<Self> {
        let labels = self.number_folders(numbering)?;
        // A longer list that doesn't number classes has been held against the folders already.
        let classes = numbering.classes().ok().flatten().unwrap_or(self.classes);
        Ok(ImageFolder { labels, classes, ..self })
    }

    fn number_folders(&self, numbering: &Numbering<'_>) -> Result<Vec<usize>> {
        let folders: Vec<&str> = self.folders.iter().map(String::as_str).collect();
        let at_root = |error| Error::usage(format!("{}: {error}", self.root.display()));
        numbering.numbers(&folders).map_err(at_root)
    }

    /// Path of image `i`, the root included.
    pub fn file(&self, i: usize) -> PathBuf {
        let entry = &self.entries[i];
        self.root.join(&self.folders[entry.folder as usize]).join(&entry.name)
    }
}

impl Dataset for ImageFolder {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn classes(&self) -> &[ClassEntry] {
        &self.classes
    }

    fn label(&self, i: usize) -> usize {
        self.labels[self.entries[i].folder as usize]
    }

    fn image(&self, i: usize) -> Result<Image8> {
        decode_file(&self.file(i))
    }

    fn path(&self, i: usize) -> String {
        let entry = &self.entries[i];
        format!("{}/{}", self.folders[entry.folder as usize], entry.name)
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

/// What a directory holds, sorted by name, links followed; names that start with a dot are left out.
fn list(dir: &Path) -> Result<Vec<(String, PathBuf, std::fs::Metadata)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|source| Error::io(dir, source))? {
        let path = entry.map_err(|source| Error::io(dir, source))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(Error::file(path, "has a name that is not UTF-8"));
        };
        if name.starts_with('.') {
            continue;
        }
        let name = name.to_string();
        let metadata = std::fs::metadata(&path).map_err(|source| Error::io(&path, source))?;
        found.push((name, path, metadata));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

fn is_image(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
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
        from.folders.iter().find(|folder| !other.folders.contains(folder)).cloned()
    };
    if let Some(id) = missing(&train_set, &val_set) {
        return Err(Error::file(val, format!("lacks the class {id} that train has")));
    }
    if let Some(id) = missing(&val_set, &train_set) {
        return Err(Error::file(train, format!("lacks the class {id} that {} has", val.display())));
    }
    Ok((train_set, val_set))
}
