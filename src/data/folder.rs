//! Data sets in folders: one folder a class, one file an image.

use super::listing::{ENDINGS_IN_WORDS, FileState, ItemKind, PassedOver, list};
use super::transform::ChooseArea;
use super::within::HELD_OUT;
use super::{ClassEntry, ClassList, Dataset, Image8, Numbering, decode_file, decode_file_part};
use crate::progress::Progress;
use crate::{Error, Result, hex};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// A file of an [`ImageFolder`].
struct ImageFile {
    /// File name inside the class folder.
    name: String,
    /// The folder, by its place among them.
    folder: u32,
    state: FileState,
}

/// `dir/<class>/<image>`: one folder a class, sorted by name, images the files in each that end
/// in .jpg, .jpeg, .png, .webp, .bmp or .gif (in any case), sorted by name; both sorts are by bytes. Anything else, and
/// names that start with a dot, are passed over, and counted.
pub struct ImageFolder {
    root: PathBuf,
    folders: Vec<String>,
    /// The class of each folder.
    labels: Vec<usize>,
    classes: Vec<ClassEntry>,
    entries: Vec<ImageFile>,
    passed_over: PassedOver,
}

impl ImageFolder {
    /// Lists the images of a folder; nothing is decoded yet. Its classes are its folders, in their order, as in
    /// torchvision; a class list gives them ids and names.
    ///
    /// # Errors
    /// [`Error::Io`] naming what can't be read; [`Error::File`] if there are no class folders or a
    /// class has no image; [`Error::Usage`] for a folder that isn't in the list, or two of one class.
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
            let detail = "holds no class folders; expected <class>/<image>.jpg (or .jpeg, .png, .webp, .bmp, .gif)";
            return Err(Error::file(dir, format!("{detail}{only}")));
        }
        let mut names = Vec::with_capacity(folders.len());
        let mut entries = Vec::new();
        for (folder, (id, path)) in folders.into_iter().enumerate() {
            let before = entries.len();
            for item in list(&path)? {
                match item.kind {
                    ItemKind::Image(state) => {
                        entries.push(ImageFile { name: item.name, folder: folder as u32, state });
                    }
                    _ => passed_over.add(Some(&id), &item),
                }
            }
            if entries.len() == before {
                let line = passed_over.line();
                let only =
                    line.map_or_else(String::new, |line| format!("; passed over so far: {line}"));
                let detail = format!("holds no {ENDINGS_IN_WORDS} file{only}");
                return Err(Error::file(path, detail));
            }
            names.push(id);
        }
        let (root, count) = (dir.to_path_buf(), names.len());
        let set = ImageFolder {
            root,
            classes: names.iter().map(|name| ClassEntry::unnamed(name)).collect(),
            folders: names,
            labels: (0..count).collect(),
            entries,
            passed_over,
        };
        match class_list {
            Some(list) => set.named(list),
            None => Ok(set),
        }
    }

    /// What lies in the folder and isn't read, in a line that names the folder; `None` if there is nothing.
    /// Whoever opens a folder says it.
    pub fn passed_over(&self) -> Option<String> {
        let line = self.passed_over.line()?;
        Some(format!("{}: passed over {line}", self.root.display()))
    }

    /// The same images, their classes under the ids and names of a list.
    fn named(self, list: &ClassList) -> Result<Self> {
        let numbering = Numbering {
            of: "the class list",
            count: list.len(),
            own: None,
            given: Some(list),
            is_in_folder_order: false,
        };
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

    /// How many classes have images; fewer than there are where the folders are [those of some](ImageFolder::numbered).
    pub fn classes_with_images(&self) -> usize {
        self.labels.iter().collect::<std::collections::BTreeSet<_>>().len()
    }

    fn number_folders(&self, numbering: &Numbering<'_>) -> Result<Vec<usize>> {
        let folders: Vec<&str> = self.folders.iter().map(String::as_str).collect();
        let at_root = |error| Error::usage(format!("{}: {error}", self.root.display()));
        numbering.numbers(&folders).map_err(at_root)
    }

    /// The folder that was opened.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Path of image `i`, the root included.
    pub fn file(&self, i: usize) -> PathBuf {
        let entry = &self.entries[i];
        self.root.join(&self.folders[entry.folder as usize]).join(&entry.name)
    }

    /// SHA-256 of the [fingerprint](Dataset::fingerprint) and of when each file was last written to: a file that was
    /// changed shows in it even where it is as long as before.
    pub fn state(&self) -> String {
        let mut digest = Sha256::new();
        digest.update(self.fingerprint());
        for entry in &self.entries {
            digest.update(entry.state.modified.to_le_bytes());
        }
        hex(&digest.finalize())
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

    fn image_part(&self, i: usize, choose: &mut ChooseArea<'_>) -> Result<Image8> {
        decode_file_part(&self.file(i), choose)
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
            digest.update(format!("{}\t{}\n", self.path(i), entry.state.bytes));
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
    let held_out = HELD_OUT.map(|name| root.join(name));
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
