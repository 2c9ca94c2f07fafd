//! Images that lie in tar archives, which stay mapped into memory.

use std::path::PathBuf;

use memmap2::Mmap;

use crate::Result;
use crate::data::transform::{Area, ChooseArea};
use crate::data::{ClassEntry, Dataset, Image8, decode_part};

/// An image in an archive.
pub(super) struct ArchivedImage {
    /// The archive, by its place among them.
    pub archive: u32,
    /// Where it begins, and its size in bytes.
    pub start: usize,
    pub len: usize,
    pub label: u32,
    /// Its path in the archive.
    pub path: String,
}

/// Images in archives, each with its label.
pub(super) struct ArchiveSet {
    pub archives: Vec<(PathBuf, Mmap)>,
    pub classes: Vec<ClassEntry>,
    pub images: Vec<ArchivedImage>,
    pub fingerprint: String,
}

impl ArchiveSet {
    fn bytes(&self, image: &ArchivedImage) -> &[u8] {
        &self.archives[image.archive as usize].1[image.start..image.start + image.len]
    }
}

impl Dataset for ArchiveSet {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn classes(&self) -> &[ClassEntry] {
        &self.classes
    }

    fn label(&self, i: usize) -> usize {
        self.images[i].label as usize
    }

    fn image(&self, i: usize) -> Result<Image8> {
        self.image_part(i, &mut Area::whole)
    }

    fn image_part(&self, i: usize, choose: &mut ChooseArea<'_>) -> Result<Image8> {
        let image = &self.images[i];
        let (path, _) = &self.archives[image.archive as usize];
        decode_part(self.bytes(image), &path.join(&image.path), choose)
    }

    fn path(&self, i: usize) -> String {
        let image = &self.images[i];
        let (archive, _) = &self.archives[image.archive as usize];
        let name = archive.file_name().unwrap_or_default().to_string_lossy();
        format!("{name}/{}", image.path)
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    fn encoded(&self, i: usize) -> Result<Option<Vec<u8>>> {
        Ok(Some(self.bytes(&self.images[i]).to_vec()))
    }
}
