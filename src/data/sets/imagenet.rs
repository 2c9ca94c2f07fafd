//! ImageNet of the challenge of 2012 (Russakovsky and others: "ImageNet Large Scale Visual Recognition Challenge", 2015).
//!
//! | place | what it holds |
//! |---|---|
//! | `train/WNID/*.JPEG` | training images |
//! | `val/WNID/*.JPEG`, or `val/*.JPEG` with a list of labels | validation images |
//! | `ILSVRC/Data/CLS-LOC/` | the two in Kaggle's layout |
//! | `ILSVRC2012_img_train.tar`, `ILSVRC2012_img_val.tar` | the same as they are distributed, read where they lie |
//!
//! Classes are the folders of `train`, else those that a list names, in the order of their WordNet ids.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use sha2::{Digest, Sha256};

use super::files::{FileSet, ListedFile, images_in};
use super::folders::folders_in;
use super::imagenet_lists::{ClassNames, ImageLabels, LABEL_LISTS, Lists};
use super::members::{ArchiveSet, ArchivedImage};
use super::tar_index::members;
use super::wordnet::{class_places, is_wordnet_id};
use super::{SetOnDisk, Sighting};
use crate::checkpoint::map_file;
use crate::data::{ClassEntry, Dataset, Image8, ImageFolder};
use crate::error::shorten;
use crate::{Error, Result, hex};

/// Kaggle's folders above `train` and `val`.
const KAGGLE: &str = "ILSVRC/Data/CLS-LOC";
const TRAIN_ARCHIVE: &str = "ILSVRC2012_img_train.tar";
const VAL_ARCHIVE: &str = "ILSVRC2012_img_val.tar";
/// What names of validation images begin with.
const VAL_IMAGE: &str = "ILSVRC2012_val_";
/// Number of the set's classes.
const CLASSES: usize = 1000;

/// Where the images of a split lie.
enum ImagePlace {
    /// Class folders, or images with a list of their labels.
    Folder(PathBuf),
    Archive(PathBuf),
}

struct ImageNet {
    train: Option<ImagePlace>,
    val: Option<ImagePlace>,
    lists: Lists,
}

/// Whether a folder holds validation images side by side.
fn is_flat(val: &Path) -> Result<bool> {
    if !val.is_dir() {
        return Ok(false);
    }
    for entry in std::fs::read_dir(val).map_err(|source| Error::io(val, source))? {
        let name = entry.map_err(|source| Error::io(val, source))?.file_name();
        if name.to_string_lossy().starts_with(VAL_IMAGE) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The folders in which `train`, `val` and the lists may lie, the one that is meant first.
fn places(root: &Path) -> Vec<PathBuf> {
    let mut places = vec![root.to_path_buf(), root.join(KAGGLE), root.join("Data/CLS-LOC")];
    places.retain(|place| place.is_dir());
    // Kaggle's lists lie above.
    for depth in [KAGGLE, "ILSVRC/Data", "ILSVRC"] {
        if root.ends_with(depth) {
            places.extend(root.ancestors().nth(depth.split('/').count()).map(Path::to_path_buf));
        }
    }
    places
}

pub(super) fn look(root: &Path) -> Result<Sighting> {
    if root.is_file() {
        return Ok(look_at_archive(root));
    }
    let places = places(root);
    let folder =
        |name: &str| places.iter().map(|place| place.join(name)).find(|path| path.is_dir());
    let file = |name: &str| places.iter().map(|place| place.join(name)).find(|path| path.is_file());
    let lists = Lists::find(&places);
    let (train, val) = (folder("train"), folder("val"));
    let archives = [TRAIN_ARCHIVE, VAL_ARCHIVE].map(file);
    let mut is_meant = lists.are_of_imagenet() || archives.iter().any(Option::is_some);
    if let Some(val) = &val {
        is_meant |= is_flat(val)?;
    }
    if !is_meant {
        for split in [&train, &val].into_iter().flatten() {
            let folders = folders_in(split)?;
            is_meant |= folders.len() == CLASSES && folders.iter().all(|name| is_wordnet_id(name));
        }
    }
    if !is_meant {
        return Ok(Sighting::Nothing);
    }
    let [train_archive, val_archive] = archives;
    let place = |folder: Option<PathBuf>, archive: Option<PathBuf>| {
        folder.map(ImagePlace::Folder).or(archive.map(ImagePlace::Archive))
    };
    let set = ImageNet { train: place(train, train_archive), val: place(val, val_archive), lists };
    Ok(match (&set.train, &set.val) {
        (None, None) => Sighting::Partial(format!("{} has neither train nor val", root.display())),
        _ => Sighting::Whole(Box::new(set)),
    })
}

/// One of the archives, named itself: the lists lie beside it.
fn look_at_archive(file: &Path) -> Sighting {
    let is_named = |name: &str| file.file_name().is_some_and(|found| found == name);
    let archive = |name: &str| is_named(name).then(|| ImagePlace::Archive(file.to_path_buf()));
    let (train, val) = (archive(TRAIN_ARCHIVE), archive(VAL_ARCHIVE));
    if train.is_none() && val.is_none() {
        return Sighting::Nothing;
    }
    let folder = file.parent().map(Path::to_path_buf).unwrap_or_default();
    Sighting::Whole(Box::new(ImageNet { train, val, lists: Lists::find(&[folder]) }))
}

/// The archive of the training images: of an archive a class.
struct TrainArchive {
    path: PathBuf,
    bytes: Mmap,
    /// The classes with their archives' places, by their ids.
    classes: Vec<(String, usize, usize)>,
}

impl TrainArchive {
    fn open(path: &Path) -> Result<TrainArchive> {
        let bytes = map_file(path)?;
        let wrong = |detail: String| Error::file(path, detail);
        let mut classes = Vec::new();
        for member in members(&bytes).map_err(wrong)? {
            let id = member.path.strip_suffix(".tar").filter(|id| is_wordnet_id(id));
            let id = id.ok_or_else(|| {
                let shown = shorten(&member.path, 80);
                wrong(format!("holds {shown}, which is no class's archive (WNID.tar)"))
            })?;
            classes.push((id.to_string(), member.start, member.len));
        }
        classes.sort();
        match classes.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(wrong(format!("holds {}.tar twice", pair[0].0))),
            None if classes.is_empty() => Err(wrong("holds no class".into())),
            None => Ok(TrainArchive { path: path.to_path_buf(), bytes, classes }),
        }
    }

    fn images(&self) -> Result<Vec<ArchivedImage>> {
        let mut images = Vec::new();
        for ((id, start, len), label) in self.classes.iter().zip(0..) {
            let wrong = |detail| Error::file(self.path.join(format!("{id}.tar")), detail);
            let found = members(&self.bytes[*start..start + len]).map_err(wrong)?;
            if found.is_empty() {
                return Err(wrong("holds no image".into()));
            }
            images.extend(found.into_iter().map(|member| ArchivedImage {
                archive: 0,
                start: start + member.start,
                len: member.len,
                label,
                path: format!("{id}/{}", member.path),
            }));
        }
        Ok(images)
    }
}

impl ImageNet {
    /// The classes' ids, sorted.
    fn ids(&self) -> Result<Vec<String>> {
        match &self.train {
            Some(ImagePlace::Folder(train)) => {
                let ids = folders_in(train)?;
                if let Some(other) = ids.iter().find(|id| !is_wordnet_id(id)) {
                    return Err(Error::file(train.join(other), "has no WordNet id for its name"));
                }
                Ok(ids)
            }
            Some(ImagePlace::Archive(path)) => {
                let classes = TrainArchive::open(path)?.classes;
                Ok(classes.into_iter().map(|(id, _, _)| id).collect())
            }
            None => match (self.lists.ids()?, &self.val) {
                (Some(ids), _) => Ok(ids),
                (None, Some(ImagePlace::Folder(val))) => folders_in(val),
                (None, _) => Ok(Vec::new()),
            },
        }
    }

    fn classes(&self) -> Result<Vec<ClassEntry>> {
        let ids = self.ids()?;
        let mut classes: Vec<ClassEntry> = ids.iter().map(|id| ClassEntry::unnamed(id)).collect();
        if let Some(ClassNames { names, .. }) = self.lists.names()? {
            names.name(&mut classes)?;
        }
        Ok(classes)
    }

    /// The labels of images that lie side by side, from all lists that are there.
    fn labels(&self, place: &Path, images: &[&str], classes: &[ClassEntry]) -> Result<Vec<u32>> {
        let ids: Vec<&str> = classes.iter().map(|class| class.id.as_str()).collect();
        let lists = self.lists.labels(&ids)?;
        let Some(first) = lists.first() else {
            let detail = format!(
                "holds images without class folders, and no list says their classes; looked for {} in {}",
                LABEL_LISTS,
                self.lists.places()
            );
            return Err(Error::file(place, detail));
        };
        for list in &lists {
            list.check_images(images)?;
        }
        for list in &lists[1..] {
            for image in images {
                let (a, b) = (&first.by_image[*image], &list.by_image[*image]);
                if a != b {
                    let (image, other) = (shorten(image, 80), first.source.display());
                    let detail = format!("says that {image} is of class {b}, but {other} says {a}");
                    return Err(Error::file(&list.source, detail));
                }
            }
        }
        let places = class_places(classes);
        let label = |image: &&str| {
            let id = &first.by_image[*image];
            let unknown = || {
                let detail = format!(
                    "gives {} the class {id}, which isn't one of the set's {}",
                    shorten(image, 80),
                    ids.len()
                );
                Error::file(&first.source, detail)
            };
            places.get(id.as_str()).copied().ok_or_else(unknown)
        };
        images.iter().map(label).collect()
    }

    fn open_val_folder(&self, val: &Path) -> Result<Box<dyn Dataset>> {
        let classes = self.classes()?;
        let folders = folders_in(val)?;
        if is_flat(val)? {
            if !folders.is_empty() {
                let detail = format!("holds images beside folders ({})", shorten(&folders[0], 80));
                return Err(Error::file(val, detail));
            }
            let images = images_in(val)?;
            let names: Vec<&str> = images.iter().map(|(name, _)| name.as_str()).collect();
            let labels = self.labels(val, &names, &classes)?;
            let files = images.iter().zip(labels);
            let files = files.map(|((name, bytes), label)| ListedFile {
                path: name.clone(),
                label,
                bytes: *bytes,
            });
            let files = files.collect();
            return Ok(Box::new(FileSet { root: val.to_path_buf(), classes, files }));
        }
        Ok(Box::new(InFolders::new(ImageFolder::open(val, None)?, classes)?))
    }

    fn open_val_archive(&self, path: &Path) -> Result<Box<dyn Dataset>> {
        let classes = self.classes()?;
        let bytes = map_file(path)?;
        let mut found = members(&bytes).map_err(|detail| Error::file(path, detail))?;
        found.sort_by(|a, b| a.path.cmp(&b.path));
        let names: Vec<&str> = found.iter().map(|member| member.path.as_str()).collect();
        let labels = self.labels(path, &names, &classes)?;
        let images = found.into_iter().zip(labels);
        let images = images.map(|(member, label)| ArchivedImage {
            archive: 0,
            start: member.start,
            len: member.len,
            label,
            path: member.path,
        });
        Ok(archive_set(path, bytes, classes, images.collect()))
    }
}

/// The images of one archive.
fn archive_set(
    path: &Path,
    bytes: Mmap,
    classes: Vec<ClassEntry>,
    images: Vec<ArchivedImage>,
) -> Box<dyn Dataset> {
    let mut digest = Sha256::new();
    for ArchivedImage { label, path, len, .. } in &images {
        digest.update(format!("{}\t{path}\t{len}\n", classes[*label as usize].id));
    }
    let fingerprint = hex(&digest.finalize());
    Box::new(ArchiveSet {
        archives: vec![(path.to_path_buf(), bytes)],
        classes,
        images,
        fingerprint,
    })
}

/// Class folders whose classes are some of more.
struct InFolders {
    folders: ImageFolder,
    classes: Vec<ClassEntry>,
    /// The place of each folder's class.
    places: Vec<usize>,
}

impl InFolders {
    fn new(folders: ImageFolder, classes: Vec<ClassEntry>) -> Result<InFolders> {
        let by_id = class_places(&classes);
        let place = |class: &ClassEntry| {
            let unknown = || {
                let detail =
                    format!("has the class {}, which the set doesn't have", shorten(&class.id, 80));
                Error::file(folders.root(), detail)
            };
            by_id.get(class.id.as_str()).map(|&place| place as usize).ok_or_else(unknown)
        };
        let places = folders.classes().iter().map(place).collect::<Result<_>>()?;
        Ok(InFolders { folders, classes, places })
    }
}

impl Dataset for InFolders {
    fn len(&self) -> usize {
        self.folders.len()
    }

    fn classes(&self) -> &[ClassEntry] {
        &self.classes
    }

    fn label(&self, i: usize) -> usize {
        self.places[self.folders.label(i)]
    }

    fn image(&self, i: usize) -> Result<Image8> {
        self.folders.image(i)
    }

    fn path(&self, i: usize) -> String {
        self.folders.path(i)
    }

    fn fingerprint(&self) -> String {
        self.folders.fingerprint()
    }
}

impl SetOnDisk for ImageNet {
    fn splits(&self) -> Vec<String> {
        let splits = [("train", &self.train), ("val", &self.val)];
        splits
            .iter()
            .filter(|(_, place)| place.is_some())
            .map(|(name, _)| name.to_string())
            .collect()
    }

    fn why_not(&self, split: &str) -> Option<&'static str> {
        let why = "the images of ImageNet's split test have no labels; its held-out images are those of val";
        (split == "test").then_some(why)
    }

    fn open(&self, split: &str) -> Result<Box<dyn Dataset>> {
        let place = if split == "train" { &self.train } else { &self.val };
        match (place, split) {
            (Some(ImagePlace::Folder(train)), "train") => {
                let folders = ImageFolder::open(train, None)?;
                Ok(Box::new(InFolders::new(folders, self.classes()?)?))
            }
            (Some(ImagePlace::Archive(path)), "train") => {
                let archive = TrainArchive::open(path)?;
                let images = archive.images()?;
                Ok(archive_set(path, archive.bytes, self.classes()?, images))
            }
            (Some(ImagePlace::Folder(val)), _) => self.open_val_folder(val),
            (Some(ImagePlace::Archive(path)), _) => self.open_val_archive(path),
            (None, _) => Err(Error::usage(format!("ImageNet has no split '{split}' here"))),
        }
    }

    fn verify(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        match self.lists.names()? {
            Some(ClassNames { from, .. }) => {
                lines.push(format!("names of classes: {}", from.display()))
            }
            None => {
                lines.push("names of classes: their WordNet ids, since no list has others".into())
            }
        }
        let ids = self.ids()?;
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let is_listed = match &self.val {
            Some(ImagePlace::Folder(val)) => is_flat(val)?,
            Some(ImagePlace::Archive(_)) => true,
            None => false,
        };
        if is_listed {
            let lists = self.lists.labels(&ids)?;
            let sources: Vec<String> =
                lists.iter().map(|list: &ImageLabels| list.source.display().to_string()).collect();
            lines.push(format!("labels of val: {}", crate::error::some_of(&sources, 3)));
        }
        let count = ids.iter().collect::<HashSet<_>>().len();
        if count != CLASSES {
            lines.push(format!("{count} classes; {CLASSES} were published"));
        }
        Ok(lines)
    }
}
