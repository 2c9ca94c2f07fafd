//! The lists that say what ImageNet's classes are called and of which class each validation image is.
//!
//! | list | labels of validation images | ids and names of classes |
//! |---|---|---|
//! | devkit (`ILSVRC2012_devkit_t12`, or packed) | `data/ILSVRC2012_validation_ground_truth.txt` | `data/meta.mat` |
//! | Kaggle | `LOC_val_solution.csv` | `LOC_synset_mapping.txt` |
//! | Caffe | `val.txt`, places among the sorted ids | `synset_words.txt`, or ids alone in `synsets.txt` |
//!
//! All lists of labels that are there must agree, and must be of exactly the images that are there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::matlab::{Synset, synsets};
use super::reading::{WholeFile, from_tar_gz};
use super::wordnet::{WordNetNames, is_wordnet_id};
use crate::error::shorten;
use crate::{Error, Result};

/// The lists of labels, for a message.
pub(super) const LABEL_LISTS: &str =
    "ILSVRC2012_devkit_t12 (or its .tar.gz), LOC_val_solution.csv and val.txt";

const DEVKIT: &str = "ILSVRC2012_devkit_t12";
const GROUND_TRUTH: &str = "ILSVRC2012_validation_ground_truth.txt";
const META: &str = "meta.mat";

const UNSORTED: &str =
    "isn't sorted by WordNet ids, so that places among its classes may mean two things";

/// Where lists lie.
pub(super) struct Lists {
    folders: Vec<PathBuf>,
    devkit: Option<PathBuf>,
    solution: Option<PathBuf>,
    mapping: Option<PathBuf>,
    val: Option<PathBuf>,
    synset_words: Option<PathBuf>,
    synsets: Option<PathBuf>,
}

/// Names of classes.
pub(super) struct ClassNames {
    pub names: WordNetNames,
    pub from: PathBuf,
}

/// The classes of images by one list.
pub(super) struct ImageLabels {
    pub source: PathBuf,
    /// WordNet ids by the names of images.
    pub by_image: HashMap<String, String>,
}

impl ImageLabels {
    fn new(source: &Path) -> ImageLabels {
        ImageLabels { source: source.to_path_buf(), by_image: HashMap::new() }
    }

    /// Adds the label of line `at`.
    fn add(&mut self, at: usize, image: &str, id: &str) -> Result<()> {
        match self.by_image.insert(image.into(), id.into()) {
            None => Ok(()),
            Some(_) => {
                let detail = format!("line {at} is about {} again", shorten(image, 80));
                Err(Error::file(&self.source, detail))
            }
        }
    }

    /// Whether the list is of these images and no others.
    pub fn check_images(&self, images: &[&str]) -> Result<()> {
        let wrong = |what: &str, image: &str| {
            Err(Error::file(&self.source, format!("{what}: {}", shorten(image, 80))))
        };
        if let Some(image) = images.iter().find(|image| !self.by_image.contains_key(**image)) {
            return wrong("has no label of an image that is there", image);
        }
        if self.by_image.len() == images.len() {
            return Ok(());
        }
        let there: std::collections::HashSet<&str> = images.iter().copied().collect();
        let mut missing: Vec<&String> =
            self.by_image.keys().filter(|image| !there.contains(image.as_str())).collect();
        missing.sort();
        match missing.first() {
            Some(image) => wrong("has the label of an image that isn't there", image),
            None => Ok(()),
        }
    }
}

/// What a devkit says.
struct Devkit {
    meta: PathBuf,
    /// The classes only.
    synsets: Vec<Synset>,
    truth: WholeFile,
}

impl Devkit {
    fn read(place: &Path) -> Result<Devkit> {
        let [truth, meta] = match place.is_dir() {
            true => {
                let read = |name: &str| WholeFile::read(&place.join("data").join(name));
                [read(GROUND_TRUTH)?, read(META)?]
            }
            false => {
                let files = from_tar_gz(place, &[GROUND_TRUTH, META])?;
                files.try_into().map_err(|_| Error::file(place, "lacks a file"))?
            }
        };
        let mut classes = synsets(&meta.bytes).map_err(|detail| meta.error(detail))?;
        classes.retain(|synset| synset.num_children == 0);
        classes.sort_by_key(|synset| synset.id);
        for (synset, id) in classes.iter().zip(1..) {
            if synset.id != id {
                let detail = format!("lacks the class of ILSVRC2012_ID {id}, or has one twice");
                return Err(meta.error(detail));
            }
        }
        Ok(Devkit { meta: meta.path, synsets: classes, truth })
    }

    fn labels(&self) -> Result<ImageLabels> {
        let mut labels = ImageLabels::new(&self.truth.path);
        for (at, line) in self.truth.lines()? {
            let id: usize = line.parse().unwrap_or_default();
            let synset = id.checked_sub(1).and_then(|place| self.synsets.get(place));
            let synset = synset.ok_or_else(|| {
                let (line, count) = (shorten(line, 40), self.synsets.len());
                self.truth
                    .error(format!("line {at} is no class's number from 1 to {count} ({line})"))
            })?;
            labels.add(at, &format!("ILSVRC2012_val_{at:08}.JPEG"), &synset.wnid)?;
        }
        Ok(labels)
    }
}

impl Lists {
    /// The lists in these folders, the first of each kind.
    pub fn find(folders: &[PathBuf]) -> Lists {
        let find =
            |name: &str| folders.iter().map(|folder| folder.join(name)).find(|path| path.exists());
        Lists {
            folders: folders.to_vec(),
            devkit: find(DEVKIT).or_else(|| find(&format!("{DEVKIT}.tar.gz"))),
            solution: find("LOC_val_solution.csv"),
            mapping: find("LOC_synset_mapping.txt"),
            val: find("val.txt"),
            synset_words: find("synset_words.txt"),
            synsets: find("synsets.txt"),
        }
    }

    /// Whether there are lists that no other set has.
    pub fn are_of_imagenet(&self) -> bool {
        self.devkit.is_some() || self.solution.is_some() || self.mapping.is_some()
    }

    /// The folders that were looked in, for a message.
    pub fn places(&self) -> String {
        let folders: Vec<String> =
            self.folders.iter().map(|folder| folder.display().to_string()).collect();
        folders.join(", ")
    }

    /// What the first list that has names calls classes.
    pub fn names(&self) -> Result<Option<ClassNames>> {
        if let Some(devkit) = &self.devkit {
            let Devkit { meta, synsets, .. } = Devkit::read(devkit)?;
            let names = synsets.into_iter().map(|synset| (synset.wnid, synset.words)).collect();
            let names = WordNetNames { source: meta.clone(), names, is_sorted: true };
            return Ok(Some(ClassNames { names, from: meta }));
        }
        let Some(path) = self.mapping.as_ref().or(self.synset_words.as_ref()) else {
            return Ok(None);
        };
        let names = WordNetNames::of_lines(&WholeFile::read(path)?, ' ')?;
        Ok(Some(ClassNames { names, from: path.clone() }))
    }

    /// The ids of all classes, sorted, by the first list that has them.
    pub fn ids(&self) -> Result<Option<Vec<String>>> {
        if self.devkit.is_none() && self.mapping.is_none() && self.synset_words.is_none() {
            let Some(path) = &self.synsets else { return Ok(None) };
            let file = WholeFile::read(path)?;
            let lines = file.distinct_lines()?;
            if let Some((at, line)) = lines.iter().find(|(_, line)| !is_wordnet_id(line)) {
                let detail = format!("line {at} ({}) isn't a WordNet id", shorten(line, 80));
                return Err(file.error(detail));
            }
            if !lines.is_sorted_by_key(|(_, id)| *id) {
                return Err(file.error(UNSORTED));
            }
            return Ok(Some(lines.iter().map(|(_, id)| id.to_string()).collect()));
        }
        let Some(ClassNames { names, from }) = self.names()? else { return Ok(None) };
        if !names.is_sorted {
            return Err(Error::file(from, UNSORTED));
        }
        let mut ids: Vec<String> = names.names.into_keys().collect();
        ids.sort();
        Ok(Some(ids))
    }

    /// The lists of labels that are there, in the order in which they count; `ids` are the classes, sorted.
    pub fn labels(&self, ids: &[&str]) -> Result<Vec<ImageLabels>> {
        let mut found = Vec::new();
        if let Some(devkit) = &self.devkit {
            found.push(Devkit::read(devkit)?.labels()?);
        }
        if let Some(path) = &self.solution {
            found.push(solution(&WholeFile::read(path)?)?);
        }
        if let Some(path) = &self.val {
            // A list has all classes, a folder of training images perhaps some.
            let listed = self.ids()?;
            let listed: Option<Vec<&str>> =
                listed.as_ref().map(|ids| ids.iter().map(String::as_str).collect());
            found.push(places_among(&WholeFile::read(path)?, listed.as_deref().unwrap_or(ids))?);
        }
        Ok(found)
    }
}

/// Kaggle's list: `ImageId,PredictionString`, the latter `WNID x y x y` for each box.
fn solution(file: &WholeFile) -> Result<ImageLabels> {
    let mut labels = ImageLabels::new(&file.path);
    let lines = file.lines()?;
    if lines.first().is_none_or(|(_, line)| *line != "ImageId,PredictionString") {
        return Err(file.error("doesn't begin with ImageId,PredictionString"));
    }
    for &(at, line) in &lines[1..] {
        let wrong = || {
            let shown = shorten(line, 80);
            file.error(format!("line {at} isn't an image and boxes of one class ({shown})"))
        };
        let (image, boxes) = line.split_once(',').ok_or_else(wrong)?;
        let words: Vec<&str> = boxes.split_whitespace().collect();
        let mut classes = words.chunks(5).map(|words| words[0]);
        let id = classes.next().filter(|id| is_wordnet_id(id)).ok_or_else(wrong)?;
        if classes.any(|other| other != id) {
            return Err(wrong());
        }
        labels.add(at, &format!("{}.JPEG", image.trim()), id)?;
    }
    Ok(labels)
}

/// Caffe's list: an image's name, perhaps behind `val/`, and its class's place among the sorted ids.
fn places_among(file: &WholeFile, ids: &[&str]) -> Result<ImageLabels> {
    let mut labels = ImageLabels::new(&file.path);
    if ids.is_empty() {
        return Err(file.error(
            "has places of classes, but nothing says which classes those are (train, synsets.txt or synset_words.txt)",
        ));
    }
    for (at, line) in file.lines()? {
        let wrong = |what: &str| file.error(format!("line {at} ({}) {what}", shorten(line, 80)));
        let (image, place) = line
            .rsplit_once(char::is_whitespace)
            .ok_or_else(|| wrong("isn't an image and a number"))?;
        let place: usize = place.parse().map_err(|_| wrong("isn't an image and a number"))?;
        let id = ids
            .get(place)
            .ok_or_else(|| wrong(&format!("has a number beyond the {} classes", ids.len())))?;
        let image = image.trim();
        labels.add(at, image.strip_prefix("val/").unwrap_or(image), id)?;
    }
    Ok(labels)
}
