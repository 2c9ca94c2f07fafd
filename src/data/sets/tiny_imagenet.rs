//! Tiny ImageNet of 200 classes (Stanford's CS231n): 64×64 images.
//!
//! | file | what it holds |
//! |---|---|
//! | `wnids.txt` | the classes, WordNet ids; they count in sorted order, as their folders would |
//! | `words.txt` | what WordNet calls each id |
//! | `train/WNID/images/` | training images; `WNID_boxes.txt` beside it isn't read |
//! | `val/images/` | validation images, whose classes stand in `val/val_annotations.txt` |
//! | `test/images/` | images without labels, which aren't read |

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::files::{FileSet, ListedFile, images_in};
use super::folders::folders_in;
use super::reading::WholeFile;
use super::wordnet::{WordNetNames, class_places};
use super::{SetOnDisk, Sighting};
use crate::data::listing::FileState;
use crate::data::{ClassEntry, Dataset};
use crate::error::shorten;
use crate::{Error, Result};

const ANNOTATIONS: &str = "val/val_annotations.txt";

struct TinyImageNet {
    folder: PathBuf,
}

pub(super) fn look(root: &Path) -> Sighting {
    // Where images were moved into class folders, those are read as such.
    let is_nested = |train: &Path| {
        let folders = std::fs::read_dir(train).into_iter().flatten().flatten();
        folders.take(1).any(|folder| folder.path().join("images").is_dir())
    };
    let is_meant = |folder: &Path| {
        let is_listed = folder.join("wnids.txt").is_file() || folder.join(ANNOTATIONS).is_file();
        let [train, val] = ["train", "val/images"].map(|place| folder.join(place));
        is_listed && (val.is_dir() || !train.is_dir() || is_nested(&train))
    };
    let files = ["wnids.txt", "train", "val/images", ANNOTATIONS];
    let folders = [root.to_path_buf(), root.join("tiny-imagenet-200")];
    Sighting::of_files(&folders, &files, is_meant, |folder| Box::new(TinyImageNet { folder }))
}

impl TinyImageNet {
    fn classes(&self) -> Result<Vec<ClassEntry>> {
        let list = WholeFile::read(&self.folder.join("wnids.txt"))?;
        let mut classes = list.classes()?;
        let path = self.folder.join("words.txt");
        if path.exists() {
            WordNetNames::of_lines(&WholeFile::read(&path)?, '\t')?.name(&mut classes)?;
        }
        classes.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(classes)
    }

    fn train(&self, classes: &[ClassEntry]) -> Result<Vec<ListedFile>> {
        let train = self.folder.join("train");
        let known: HashSet<&str> = classes.iter().map(|class| class.id.as_str()).collect();
        if let Some(other) = folders_in(&train)?.iter().find(|id| !known.contains(id.as_str())) {
            return Err(Error::file(
                train.join(other),
                "is of a class that wnids.txt doesn't name",
            ));
        }
        let mut files = Vec::new();
        for (class, label) in classes.iter().zip(0..) {
            let folder = train.join(&class.id).join("images");
            if !folder.is_dir() {
                let detail = format!("lacks {}/images, a class that wnids.txt names", class.id);
                return Err(Error::file(&train, detail));
            }
            files.extend(images_in(&folder)?.into_iter().map(|(name, state)| ListedFile {
                path: format!("train/{}/images/{name}", class.id),
                label,
                state,
            }));
        }
        Ok(files)
    }

    fn val(&self, classes: &[ClassEntry]) -> Result<Vec<ListedFile>> {
        let places = class_places(classes);
        let list = WholeFile::read(&self.folder.join(ANNOTATIONS))?;
        let folder = self.folder.join("val/images");
        let images: HashMap<String, FileState> = images_in(&folder)?.into_iter().collect();
        let (mut files, mut lines) = (Vec::new(), HashMap::new());
        for (at, line) in list.lines()? {
            let fields: Vec<&str> = line.split('\t').collect();
            let [name, id, ..] = fields.as_slice() else {
                let detail = format!("line {at} isn't an image's name, a tab and a WordNet id");
                return Err(list.error(detail));
            };
            let (name, id) = (name.trim(), id.trim());
            let wrong = |what: String| list.error(format!("line {at} {what}"));
            if let Some(first) = lines.insert(name.to_string(), at) {
                let name = shorten(name, 80);
                return Err(wrong(format!("annotates {name} of line {first} again")));
            }
            let state = images.get(name).copied().ok_or_else(|| {
                wrong(format!("annotates an image that isn't there: {}", shorten(name, 80)))
            })?;
            let label = places.get(id).copied().ok_or_else(|| {
                wrong(format!("has a class that wnids.txt doesn't name: {}", shorten(id, 80)))
            })?;
            files.push(ListedFile { path: format!("val/images/{name}"), label, state });
        }
        let mut names: Vec<&String> =
            images.keys().filter(|name| !lines.contains_key(*name)).collect();
        names.sort();
        match names.first() {
            Some(name) => Err(list.error(format!("doesn't annotate the image {name}"))),
            None => Ok(files),
        }
    }
}

impl SetOnDisk for TinyImageNet {
    fn splits(&self) -> Vec<String> {
        ["train", "val"].map(String::from).into()
    }

    fn why_not(&self, split: &str) -> Option<&'static str> {
        let why = "the images of Tiny ImageNet's split test have no labels; its held-out images are those of val";
        (split == "test").then_some(why)
    }

    fn open(&self, split: &str) -> Result<Box<dyn Dataset>> {
        let classes = self.classes()?;
        let files = match split {
            "train" => self.train(&classes)?,
            _ => self.val(&classes)?,
        };
        Ok(Box::new(FileSet { root: self.folder.clone(), classes, files }))
    }

    fn verify(&self) -> Result<Vec<String>> {
        let names = match self.folder.join("words.txt").exists() {
            true => "names of classes: words.txt",
            false => "names of classes: their WordNet ids, since words.txt isn't there",
        };
        Ok(vec![names.into()])
    }
}
