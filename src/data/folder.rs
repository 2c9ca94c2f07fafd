//! Data sets in folders: one folder a class, one file an image.

use super::listing::{ENDINGS_IN_WORDS, FileState, ItemKind, PassedOver, list, state_of};
use super::transform::ChooseArea;
use super::{ClassEntry, Dataset, Image8, decode_file, decode_file_part};
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
    /// Those of the folders, in their order.
    classes: Vec<ClassEntry>,
    entries: Vec<ImageFile>,
    passed_over: PassedOver,
}

impl ImageFolder {
    /// Lists the images of a folder; nothing is decoded yet. Its classes are its folders, in their order, as in
    /// torchvision.
    ///
    /// # Errors
    /// [`Error::Io`] naming what can't be read; [`Error::File`] if there are no class folders or a
    /// class has no image.
    pub fn open(dir: &Path) -> Result<Self> {
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
        let mut classes = Vec::with_capacity(folders.len());
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
            classes.push(ClassEntry::unnamed(&id));
        }
        Ok(ImageFolder { root: dir.to_path_buf(), classes, entries, passed_over })
    }

    /// Where image `i` lies.
    fn file_of(&self, i: usize) -> PathBuf {
        let entry = &self.entries[i];
        self.root.join(&self.classes[entry.folder as usize].id).join(&entry.name)
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
        self.entries[i].folder as usize
    }

    fn image(&self, i: usize) -> Result<Image8> {
        decode_file(&self.file_of(i))
    }

    fn image_part(&self, i: usize, choose: &mut ChooseArea<'_>) -> Result<Image8> {
        decode_file_part(&self.file_of(i), choose)
    }

    fn path(&self, i: usize) -> String {
        let entry = &self.entries[i];
        format!("{}/{}", self.classes[entry.folder as usize].id, entry.name)
    }

    fn file(&self, i: usize) -> Option<PathBuf> {
        Some(self.file_of(i))
    }

    fn passed_over(&self) -> Option<String> {
        let line = self.passed_over.line()?;
        Some(format!("{}: passed over {line}", self.root.display()))
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

    /// Of the fingerprint and of when each file was last written to.
    fn state(&self) -> String {
        state_of(&self.fingerprint(), self.entries.iter().map(|entry| entry.state))
    }
}
