//! Images in files that a set's lists label.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::data::listing::{ENDINGS_IN_WORDS, FileState, ItemKind, list, state_of};
use crate::data::transform::ChooseArea;
use crate::data::{ClassEntry, Dataset, Image8, decode_file, decode_file_part};
use crate::{Error, Result, hex};

/// An image file of a [`FileSet`].
pub(super) struct ListedFile {
    /// Below the set's root, with `/` between folders.
    pub path: String,
    pub label: u32,
    pub state: FileState,
}

/// Images below a folder, each with its label.
pub(super) struct FileSet {
    pub root: PathBuf,
    pub classes: Vec<ClassEntry>,
    pub files: Vec<ListedFile>,
}

impl Dataset for FileSet {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn classes(&self) -> &[ClassEntry] {
        &self.classes
    }

    fn label(&self, i: usize) -> usize {
        self.files[i].label as usize
    }

    fn image(&self, i: usize) -> Result<Image8> {
        decode_file(&self.root.join(&self.files[i].path))
    }

    fn image_part(&self, i: usize, choose: &mut ChooseArea<'_>) -> Result<Image8> {
        decode_file_part(&self.root.join(&self.files[i].path), choose)
    }

    fn path(&self, i: usize) -> String {
        self.files[i].path.clone()
    }

    /// SHA-256 of the list of files, one line `<class id><TAB><path><TAB><size in bytes>` each; what the files
    /// hold is not read.
    fn fingerprint(&self) -> String {
        let mut digest = Sha256::new();
        for file in &self.files {
            let class = &self.classes[file.label as usize].id;
            digest.update(format!("{class}\t{}\t{}\n", file.path, file.state.bytes));
        }
        hex(&digest.finalize())
    }

    /// Of the fingerprint and of when each file was last written to.
    fn state(&self) -> String {
        let files = self.files.iter().map(|file| file.state);
        state_of(&self.fingerprint(), files)
    }

    fn file(&self, i: usize) -> Option<PathBuf> {
        Some(self.root.join(&self.files[i].path))
    }
}

/// The images of a folder, by name.
///
/// # Errors
/// [`Error::Io`] naming what can't be read; [`Error::File`] for a folder without images.
pub(super) fn images_in(folder: &Path) -> Result<Vec<(String, FileState)>> {
    let images = list(folder)?.into_iter().filter_map(|item| match item.kind {
        ItemKind::Image(state) => Some((item.name, state)),
        _ => None,
    });
    let images: Vec<_> = images.collect();
    match images.is_empty() {
        true => Err(Error::file(folder, format!("holds no {ENDINGS_IN_WORDS} file"))),
        false => Ok(images),
    }
}

/// Whether a name from a list is that of a file or folder in a folder, rather than a way elsewhere.
pub(super) fn is_plain_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', '\0', ':'])
}
