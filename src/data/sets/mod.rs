//! Published data sets where their downloads put them, and other layouts in which sets of images are kept.
//!
//! A [`Layout`] is told by the files that lie in a folder. Each set is read in its own form (batches, lists,
//! archives), nothing is converted, and labels are the set's own.

mod cifar;
mod files;
mod folders;
mod food101;
mod imagenet;
mod imagenet_lists;
mod matlab;
mod members;
mod packed;
mod planes;
mod reading;
mod stl10;
mod tar_index;
mod tiny_imagenet;
mod webdataset;
mod wordnet;

use std::path::{Path, PathBuf};

use strum::{Display, EnumIter, EnumString, IntoEnumIterator, IntoStaticStr};

use super::Dataset;
use crate::error::{MOST_NAMED, some_of};
use crate::{Error, Result};

/// A layout in which a set of images is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Display, EnumIter, EnumString, IntoStaticStr)]
#[strum(serialize_all = "kebab-case", parse_err_ty = Error, parse_err_fn = unknown)]
pub enum SetLayout {
    /// `train/CLASS/*.jpg` and `val/`, `validation/` or `test/`.
    Folders,
    /// CIFAR-10, in its Python or its binary version.
    #[strum(serialize = "cifar10")]
    Cifar10,
    /// CIFAR-100 with its fine labels, in its Python or its binary version.
    #[strum(serialize = "cifar100")]
    Cifar100,
    /// STL-10 in its binary version.
    #[strum(serialize = "stl10")]
    Stl10,
    /// Food-101.
    #[strum(serialize = "food101")]
    Food101,
    /// Tiny ImageNet of 200 classes.
    #[strum(serialize = "tiny-imagenet")]
    TinyImageNet,
    /// ImageNet of 2012, unpacked or in its archives.
    #[strum(serialize = "imagenet")]
    ImageNet,
    /// Tar archives of WebDataset's convention.
    #[strum(serialize = "webdataset")]
    WebDataset,
    /// One file, as `flipside data pack` writes it.
    Pack,
}

fn unknown(word: &str) -> Error {
    Error::unknown::<SetLayout>("layout of a data set", word)
}

/// A set that lies whole in a place.
trait SetOnDisk {
    /// Splits that are there and have labels.
    fn splits(&self) -> Vec<String>;

    /// Opens one of [`splits`](SetOnDisk::splits).
    fn open(&self, split: &str) -> Result<Box<dyn Dataset>>;

    /// Why a split that the set is known to have can't be opened.
    fn why_not(&self, _split: &str) -> Option<&'static str> {
        None
    }

    /// Whether these may be files that somebody left beside a set, rather than one.
    fn may_lie_beside(&self) -> bool {
        false
    }

    /// Lines on the files: which are those that were published, and what else is to be known.
    fn verify(&self) -> Result<Vec<String>>;
}

/// What a place holds of a set.
enum Sighting {
    Nothing,
    /// Some of its files; the sentence says what is missing or one too many.
    Partial(String),
    Whole(Box<dyn SetOnDisk>),
}

impl Sighting {
    /// The first of these folders that holds some of `files`, files or folders: whole if all of them.
    fn of_files(
        folders: &[PathBuf],
        files: &[&str],
        is_meant: impl Fn(&Path) -> bool,
        set: impl Fn(PathBuf) -> Box<dyn SetOnDisk>,
    ) -> Sighting {
        let Some(folder) = folders.iter().find(|folder| is_meant(folder)) else {
            return Sighting::Nothing;
        };
        match files.iter().find(|file| !folder.join(file).exists()) {
            None => Sighting::Whole(set(folder.clone())),
            Some(file) => Sighting::Partial(format!("{} lacks {file}", folder.display())),
        }
    }
}

impl SetLayout {
    /// What lies in a folder, or in an archive file.
    ///
    /// # Errors
    /// [`Error::Io`] naming what can't be read; [`Error::File`] where nothing known lies there, where it looks like
    /// two sets, or where one is incomplete, naming what is missing.
    pub fn of(root: &Path) -> Result<SetLayout> {
        let mut seen = Vec::new();
        for layout in SetLayout::iter() {
            match layout.look(root)? {
                Sighting::Nothing => {}
                sighting => seen.push((layout, sighting)),
            }
        }
        // Class folders are read as such, whatever else was put beside them, unless they are a known set's own.
        if seen.iter().any(|(layout, _)| layout.has_class_folders()) {
            seen.retain(|(layout, _)| *layout != SetLayout::Folders);
        } else if seen.iter().any(|(layout, _)| *layout == SetLayout::Folders) {
            return Ok(SetLayout::Folders);
        }
        // What a set was unpacked from may have been left there.
        if seen.len() > 1 {
            let is_set = |sighting: &Sighting| match sighting {
                Sighting::Whole(set) => !set.may_lie_beside(),
                _ => true,
            };
            seen.retain(|(_, sighting)| is_set(sighting));
        }
        let names: Vec<&str> = seen.iter().map(|(layout, _)| layout.title()).collect();
        match seen.as_slice() {
            // One with class folders itself, or nothing: whoever opens it says so.
            [] if root.is_dir() => Ok(SetLayout::Folders),
            [] => {
                let known: Vec<&str> = SetLayout::iter().skip(1).map(SetLayout::title).collect();
                let detail = format!(
                    "is neither a folder nor the archive or file of a known set ({})",
                    some_of(&known, MOST_NAMED)
                );
                Err(Error::file(root, detail))
            }
            [(layout, Sighting::Partial(lack))] => Err(layout.incomplete(root, lack)),
            [(layout, _)] => Ok(*layout),
            _ => {
                let detail = format!(
                    "looks like {}: name the folder or file of one of them, or its layout (--dataset)",
                    names.join(" and like ")
                );
                Err(Error::file(root, detail))
            }
        }
    }

    /// Splits that are there, in the set's own names (`train`, `val`, `test`).
    ///
    /// # Errors
    /// As [`of`](SetLayout::of), where the set isn't there or isn't whole.
    pub fn splits(self, root: &Path) -> Result<Vec<String>> {
        match self.look(root)? {
            // It has class folders itself.
            Sighting::Nothing if self == SetLayout::Folders && root.is_dir() => Ok(Vec::new()),
            sighting => Ok(self.whole(root, sighting)?.splits()),
        }
    }

    /// Opens a split. Its classes are the set's own, in its order: ids are what a class folder would be called, names
    /// what the set's lists call the classes, else the ids with blanks for underscores.
    ///
    /// # Errors
    /// [`Error::Usage`] for a split that isn't there; [`Error::Io`] and [`Error::File`] naming the file that is
    /// missing, truncated or hostile, or whose labels don't fit.
    pub fn open(self, root: &Path, split: &str) -> Result<Box<dyn Dataset>> {
        let set = self.find(root)?;
        let splits = set.splits();
        if splits.iter().any(|known| known == split) {
            return set.open(split);
        }
        let (root, title) = (root.display(), self.title());
        Err(Error::usage(match set.why_not(split) {
            Some(why) => format!("{root}: {why}"),
            None => format!(
                "{root}: {title} has no split '{split}' here; it has {}",
                some_of(&splits, MOST_NAMED)
            ),
        }))
    }

    /// Number of images of a split as published, `Some(50_000)` say.
    pub fn published_count(self, split: &str) -> Option<usize> {
        Some(match (self, split) {
            (SetLayout::Cifar10 | SetLayout::Cifar100, "train") => 50_000,
            (SetLayout::Cifar10 | SetLayout::Cifar100, "test") => 10_000,
            (SetLayout::Stl10, "train") => 5_000,
            (SetLayout::Stl10, "test") => 8_000,
            (SetLayout::Food101, "train") => 75_750,
            (SetLayout::Food101, "test") => 25_250,
            (SetLayout::TinyImageNet, "train") => 100_000,
            (SetLayout::TinyImageNet, "val") => 10_000,
            (SetLayout::ImageNet, "train") => 1_281_167,
            (SetLayout::ImageNet, "val") => 50_000,
            _ => return None,
        })
    }

    /// Lines on what fits the published set and what doesn't: hashes of files where they are known, and numbers of
    /// images. Reads whole files.
    ///
    /// # Errors
    /// As [`open`](SetLayout::open).
    pub fn verify(self, root: &Path) -> Result<Vec<String>> {
        let set = self.find(root)?;
        let mut lines = set.verify()?;
        for split in set.splits() {
            let count = set.open(&split)?.len();
            lines.push(match self.published_count(&split) {
                None => format!("{split}: {count} images"),
                Some(published) if published == count => {
                    format!("{split}: {count} images, as published")
                }
                Some(published) => format!("{split}: {count} images; {published} were published"),
            });
        }
        Ok(lines)
    }

    /// What people call the set.
    pub fn title(self) -> &'static str {
        match self {
            SetLayout::Folders => "class folders",
            SetLayout::Cifar10 => "CIFAR-10",
            SetLayout::Cifar100 => "CIFAR-100",
            SetLayout::Stl10 => "STL-10",
            SetLayout::Food101 => "Food-101",
            SetLayout::TinyImageNet => "Tiny ImageNet",
            SetLayout::ImageNet => "ImageNet",
            SetLayout::WebDataset => "WebDataset",
            SetLayout::Pack => "a pack of images",
        }
    }

    fn has_class_folders(self) -> bool {
        matches!(self, SetLayout::TinyImageNet | SetLayout::ImageNet)
    }

    fn look(self, root: &Path) -> Result<Sighting> {
        match self {
            SetLayout::Folders => folders::look(root),
            SetLayout::Cifar10 => Ok(cifar::look(&cifar::CIFAR_10, root)),
            SetLayout::Cifar100 => Ok(cifar::look(&cifar::CIFAR_100, root)),
            SetLayout::Stl10 => Ok(stl10::look(root)),
            SetLayout::Food101 => Ok(food101::look(root)),
            SetLayout::TinyImageNet => Ok(tiny_imagenet::look(root)),
            SetLayout::ImageNet => imagenet::look(root),
            SetLayout::WebDataset => webdataset::look(root),
            SetLayout::Pack => packed::look(root),
        }
    }

    fn find(self, root: &Path) -> Result<Box<dyn SetOnDisk>> {
        let sighting = self.look(root)?;
        self.whole(root, sighting)
    }

    fn whole(self, root: &Path, sighting: Sighting) -> Result<Box<dyn SetOnDisk>> {
        match sighting {
            Sighting::Whole(set) => Ok(set),
            Sighting::Partial(lack) => Err(self.incomplete(root, &lack)),
            Sighting::Nothing => {
                Err(Error::file(root, format!("holds no files of {}", self.title())))
            }
        }
    }

    fn incomplete(self, root: &Path, lack: &str) -> Error {
        Error::file(root, format!("looks like {}, but {lack}", self.title()))
    }
}
