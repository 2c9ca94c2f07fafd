//! Sets with images that can't be read.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::transform::ChooseArea;
use super::{ClassEntry, Dataset, Image8, ImageSet};
use crate::error::{MOST_NAMED, some_of};
use crate::progress::Progress;
use crate::{Error, Result, hex};

/// Images that are read at a time.
const AT_ONCE: usize = 256;

/// A set less the images that can't be read.
struct Readable {
    all: Arc<dyn Dataset>,
    /// Those that can be, by their places.
    places: Vec<usize>,
    skipped: Vec<String>,
}

impl ImageSet {
    /// Decodes every image and leaves out those that can't be read, at most `most`. Each is
    /// named, with the cause, as it is met.
    ///
    /// # Errors
    /// [`Error::File`] if there are more, or a class would be without images; they are named.
    pub fn less_unreadable(self, most: usize, progress: &dyn Progress) -> Result<ImageSet> {
        let root = self.root().to_path_buf();
        let (mut places, mut skipped) = (Vec::with_capacity(self.len()), Vec::new());
        progress.begin("reading every image", "images", 0, self.len() as u64);
        let all: Vec<usize> = (0..self.len()).collect();
        for some in all.chunks(AT_ONCE) {
            let read: Vec<Result<Image8>> = some.par_iter().map(|&i| self.image(i)).collect();
            for (&i, image) in some.iter().zip(read) {
                match image {
                    Ok(_) => places.push(i),
                    Err(error) => {
                        progress.line(&format!("left out: {error}"));
                        skipped.push(self.path(i));
                    }
                }
            }
            if skipped.len() > most {
                progress.end();
                let detail = format!(
                    "has {} or more images that can't be read, and --skip-bad allows for {most}: {}",
                    skipped.len(),
                    some_of(&skipped, MOST_NAMED)
                );
                return Err(Error::file(root, detail));
            }
            progress.advance(some.len() as u64, "");
        }
        progress.end();
        if skipped.is_empty() {
            return Ok(self);
        }
        let with_images = |places: &mut dyn Iterator<Item = usize>| -> BTreeSet<usize> {
            places.map(|i| self.label(i)).collect()
        };
        let (before, after) =
            (with_images(&mut (0..self.len())), with_images(&mut places.iter().copied()));
        if let Some(&class) = before.difference(&after).next() {
            let id = &self.classes()[class].id;
            return Err(Error::file(root, format!("has no image of class {id} that can be read")));
        }
        let keep =
            |all: Arc<dyn Dataset>| Arc::new(Readable { all, places, skipped }) as Arc<dyn Dataset>;
        Ok(self.map(keep))
    }
}

impl Dataset for Readable {
    fn len(&self) -> usize {
        self.places.len()
    }

    fn classes(&self) -> &[ClassEntry] {
        self.all.classes()
    }

    fn label(&self, i: usize) -> usize {
        self.all.label(self.places[i])
    }

    fn image(&self, i: usize) -> Result<Image8> {
        self.all.image(self.places[i])
    }

    fn image_part(&self, i: usize, choose: &mut ChooseArea<'_>) -> Result<Image8> {
        self.all.image_part(self.places[i], choose)
    }

    fn path(&self, i: usize) -> String {
        self.all.path(self.places[i])
    }

    /// SHA-256 of that of the whole set, and of the paths of the images that are left out.
    fn fingerprint(&self) -> String {
        less(&self.all.fingerprint(), &self.skipped)
    }

    fn state(&self) -> String {
        less(&self.all.state(), &self.skipped)
    }

    fn file(&self, i: usize) -> Option<PathBuf> {
        self.all.file(self.places[i])
    }

    fn encoded(&self, i: usize) -> Result<Option<Vec<u8>>> {
        self.all.encoded(self.places[i])
    }

    fn skipped(&self) -> Vec<String> {
        self.skipped.clone()
    }

    fn passed_over(&self) -> Option<String> {
        self.all.passed_over()
    }
}

fn less(hash: &str, skipped: &[String]) -> String {
    let mut digest = Sha256::new();
    digest.update(hash);
    for path in skipped {
        digest.update(format!("\nless {path}"));
    }
    hex(&digest.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::rgb_png;
    use crate::progress::Silent;

    /// Two classes of three images, some of which are none.
    fn set(broken: &[&str]) -> (tempfile::TempDir, ImageSet) {
        let dir = tempfile::tempdir().unwrap();
        for path in ["a/1.png", "a/2.png", "a/3.png", "b/1.png", "b/2.png", "b/3.png"] {
            let file = dir.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            let png = rgb_png(&Image8::black(2, 2)).unwrap();
            let bytes = if broken.contains(&path) { b"no picture".to_vec() } else { png };
            std::fs::write(file, bytes).unwrap();
        }
        let set = ImageSet::folder(dir.path()).unwrap();
        (dir, set)
    }

    #[test]
    fn what_cannot_be_read_is_left_out_and_named() {
        let (_dir, whole) = set(&["a/2.png", "b/1.png"]);
        let fingerprint = whole.fingerprint();
        let set = whole.less_unreadable(2, &Silent).unwrap();
        assert_eq!(set.skipped(), ["a/2.png", "b/1.png"]);
        let paths: Vec<String> = (0..set.len()).map(|i| set.path(i)).collect();
        assert_eq!(paths, ["a/1.png", "a/3.png", "b/2.png", "b/3.png"]);
        assert_eq!([0, 1, 2, 3].map(|i| set.label(i)), [0, 0, 1, 1]);
        assert!(
            (0..4).all(|i| set.image(i).is_ok() && set.file(i).unwrap().ends_with(set.path(i)))
        );
        assert_ne!(set.fingerprint(), fingerprint);
    }

    #[test]
    fn more_than_allowed_is_an_error_and_so_is_a_class_without_images() {
        let broken = |paths: &[&str], most| {
            let (_dir, set) = set(paths);
            set.less_unreadable(most, &Silent).err().unwrap().to_string()
        };
        let error = broken(&["a/2.png", "b/1.png"], 1);
        assert!(error.contains("a/2.png, b/1.png") && error.contains("allows for 1"), "{error}");
        let error = broken(&["a/1.png", "a/2.png", "a/3.png"], 5);
        assert!(error.contains("no image of class a"), "{error}");
    }

    #[test]
    fn a_whole_set_stays_what_it_is() {
        let (_dir, whole) = set(&[]);
        let fingerprint = whole.fingerprint();
        let set = whole.less_unreadable(0, &Silent).unwrap();
        assert_eq!((set.fingerprint(), set.skipped().len()), (fingerprint, 0));
    }
}
