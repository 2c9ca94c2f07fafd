//! Decoded images kept in memory.

use super::transform::{Area, ChooseArea};
use super::{ClassEntry, Dataset, Image8, part_of};
use crate::Result;
use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A data set that decodes each image once and keeps it, as long as a budget of bytes lasts; images
/// beyond the budget are decoded each time. What is returned never depends on the budget.
pub struct Cached<D> {
    inner: D,
    kept: Vec<OnceLock<Image8>>,
    bytes_left: AtomicUsize,
}

impl<D: Dataset> Cached<D> {
    /// Wraps a data set; `budget_bytes` bounds the pixels kept (3·height·width bytes an image).
    pub fn new(inner: D, budget_bytes: usize) -> Self {
        let kept = (0..inner.len()).map(|_| OnceLock::new()).collect();
        Cached { inner, kept, bytes_left: AtomicUsize::new(budget_bytes) }
    }

    /// Number of images that are in memory now.
    pub fn kept(&self) -> usize {
        self.kept.iter().filter(|slot| slot.get().is_some()).count()
    }

    /// Keeps an image, if there is room.
    fn keep(&self, i: usize, image: &Image8) {
        let size = image.pixels.len();
        let take = |left: usize| left.checked_sub(size);
        if self.bytes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
            && self.kept[i].set(image.clone()).is_err()
        {
            // Another thread was first: what this one reserved is free again.
            self.bytes_left.fetch_add(size, Ordering::Relaxed);
        }
    }
}

impl<D: Dataset> Dataset for Cached<D> {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn classes(&self) -> &[ClassEntry] {
        self.inner.classes()
    }

    fn label(&self, i: usize) -> usize {
        self.inner.label(i)
    }

    fn image(&self, i: usize) -> Result<Image8> {
        if let Some(image) = self.kept[i].get() {
            return Ok(image.clone());
        }
        let image = self.inner.image(i)?;
        self.keep(i, &image);
        Ok(image)
    }

    /// An image that will be kept is decoded whole.
    fn image_part(&self, i: usize, choose: &mut ChooseArea<'_>) -> Result<Image8> {
        if let Some(image) = self.kept[i].get() {
            return part_of(Cow::Borrowed(image), choose(image.height, image.width));
        }
        let (mut wanted, mut is_whole) = (None, false);
        let image = self.inner.image_part(i, &mut |height, width| {
            let area = *wanted.insert(choose(height, width));
            is_whole = height * width * 3 <= self.bytes_left.load(Ordering::Relaxed);
            if is_whole { Area::whole(height, width) } else { area }
        })?;
        match wanted.filter(|_| is_whole) {
            Some(area) => {
                self.keep(i, &image);
                part_of(Cow::Owned(image), area)
            }
            None => Ok(image),
        }
    }

    fn path(&self, i: usize) -> String {
        self.inner.path(i)
    }

    fn fingerprint(&self) -> String {
        self.inner.fingerprint()
    }

    fn state(&self) -> String {
        self.inner.state()
    }

    fn file(&self, i: usize) -> Option<PathBuf> {
        self.inner.file(i)
    }

    fn encoded(&self, i: usize) -> Result<Option<Vec<u8>>> {
        self.inner.encoded(i)
    }

    fn skipped(&self) -> Vec<String> {
        self.inner.skipped()
    }

    fn passed_over(&self) -> Option<String> {
        self.inner.passed_over()
    }
}
