//! A split of a data set with the numbers that its classes have in a network.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::transform::ChooseArea;
use super::{ClassEntry, ClassList, Dataset, Image8, ImageFolder, Numbering};
use crate::progress::Progress;
use crate::{Error, Result};

/// Images and their labels; clones share the images. Labels are the set's own until [`numbered`](ImageSet::numbered) makes them a network's.
#[derive(Clone)]
pub struct ImageSet {
    /// With the labels and classes of its own.
    images: Arc<dyn Dataset>,
    /// Where it lies, for errors.
    root: PathBuf,
    /// The label of each of its own classes.
    labels: Vec<usize>,
    classes: Vec<ClassEntry>,
    /// What is odd about it.
    note: Option<String>,
}

impl ImageSet {
    /// A split that lies in `root`, under the labels that it has.
    pub fn new(images: Arc<dyn Dataset>, root: &Path) -> Self {
        let classes = images.classes().to_vec();
        let labels = (0..classes.len()).collect();
        ImageSet { labels, classes, images, root: root.into(), note: None }
    }

    /// A folder of class folders.
    ///
    /// # Errors
    /// As [`ImageFolder::open`].
    pub fn folder(dir: &Path) -> Result<Self> {
        Ok(ImageSet::new(Arc::new(ImageFolder::open(dir)?), dir))
    }

    /// The same images, their classes under the ids and names of a list.
    ///
    /// # Errors
    /// [`Error::Usage`] for a class that isn't in the list, or two that are one there.
    pub fn named(self, list: &ClassList) -> Result<Self> {
        let numbering = Numbering {
            of: "the class list",
            count: list.len(),
            own: None,
            given: Some(list),
            is_in_folder_order: false,
        };
        let indices = self.numbers(&numbering)?;
        let classes = indices.into_iter().map(|index| list.entries()[index].clone()).collect();
        Ok(ImageSet { classes, ..self })
    }

    /// The same images, labelled with the numbers that their classes have in a network; where the network
    /// has more classes than the set, some of them have no image.
    ///
    /// # Errors
    /// As [`Numbering::numbers`].
    pub fn numbered(self, numbering: &Numbering<'_>) -> Result<Self> {
        let labels = self.numbers(numbering)?;
        // A longer list that doesn't number classes has been held against the set's own already.
        let classes = numbering.classes().ok().flatten().unwrap_or(self.classes);
        Ok(ImageSet { labels, classes, ..self })
    }

    fn numbers(&self, numbering: &Numbering<'_>) -> Result<Vec<usize>> {
        let ids: Vec<&str> = self.ids().collect();
        let at_root = |error| Error::usage(format!("{}: {error}", self.root.display()));
        numbering.numbers(&ids).map_err(at_root)
    }

    /// What the set calls its classes: the names of their folders, where they have such.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.images.classes().iter().map(|class| class.id.as_str())
    }

    /// How many classes have images; fewer than there are where the set's are [those of some](ImageSet::numbered).
    pub fn classes_with_images(&self) -> usize {
        (0..self.len()).map(|i| self.label(i)).collect::<BTreeSet<_>>().len()
    }

    /// Where the set lies.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The same set with other images, of the same classes.
    pub(super) fn map(self, other: impl FnOnce(Arc<dyn Dataset>) -> Arc<dyn Dataset>) -> ImageSet {
        ImageSet { images: other(self.images), ..self }
    }

    /// The same set, of which something is to be said.
    pub(super) fn noted(self, note: Option<String>) -> ImageSet {
        ImageSet { note, ..self }
    }

    /// Says what is odd about the set, and what lies among the images and isn't read.
    pub fn say_notes(&self, progress: &dyn Progress) {
        self.note.iter().chain(&self.passed_over()).for_each(|line| progress.line(line));
    }
}

impl Dataset for ImageSet {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn classes(&self) -> &[ClassEntry] {
        &self.classes
    }

    fn label(&self, i: usize) -> usize {
        self.labels[self.images.label(i)]
    }

    fn image(&self, i: usize) -> Result<Image8> {
        self.images.image(i)
    }

    fn image_part(&self, i: usize, choose: &mut ChooseArea<'_>) -> Result<Image8> {
        self.images.image_part(i, choose)
    }

    fn path(&self, i: usize) -> String {
        self.images.path(i)
    }

    fn fingerprint(&self) -> String {
        self.images.fingerprint()
    }

    fn state(&self) -> String {
        self.images.state()
    }

    fn file(&self, i: usize) -> Option<PathBuf> {
        self.images.file(i)
    }

    fn encoded(&self, i: usize) -> Result<Option<Vec<u8>>> {
        self.images.encoded(i)
    }

    fn skipped(&self) -> Vec<String> {
        self.images.skipped()
    }

    fn passed_over(&self) -> Option<String> {
        self.images.passed_over()
    }
}
