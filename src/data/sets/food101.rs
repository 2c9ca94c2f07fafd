//! Food-101 (Bossard, Guillaumin, Van Gool: "Food-101 – Mining Discriminative Components with Random Forests", 2014):
//! `images/CLASS/ID.jpg`, and lists of them in `meta/`.

use std::path::{Path, PathBuf};

use super::files::{FileSet, ListedFile, is_plain_name};
use super::reading::WholeFile;
use super::wordnet::class_places;
use super::{SetOnDisk, Sighting};
use crate::data::listing::FileState;
use crate::data::{ClassEntry, Dataset};
use crate::error::shorten;
use crate::{Error, Result};

struct Food101 {
    folder: PathBuf,
}

pub(super) fn look(root: &Path) -> Sighting {
    let is_meant = |folder: &Path| {
        let is_list = |name: &&str| folder.join("meta").join(name).is_file();
        ["train.txt", "test.txt", "classes.txt"].into_iter().filter(is_list).count() > 1
    };
    let files = ["images", "meta/train.txt", "meta/test.txt", "meta/classes.txt"];
    let folders = [root.to_path_buf(), root.join("food-101")];
    Sighting::of_files(&folders, &files, is_meant, |folder| Box::new(Food101 { folder }))
}

impl Food101 {
    /// The classes, sorted by their ids, under the names that `labels.txt` has for them where it is there.
    fn classes(&self) -> Result<Vec<ClassEntry>> {
        let ids = WholeFile::read(&self.folder.join("meta/classes.txt"))?;
        let mut classes = ids.classes()?;
        let path = self.folder.join("meta/labels.txt");
        if path.exists() {
            let file = WholeFile::read(&path)?;
            let names = file.lines()?;
            if names.len() != classes.len() {
                let (names, classes) = (names.len(), classes.len());
                return Err(file.error(format!("has {names} names for {classes} classes")));
            }
            for (class, (_, name)) in classes.iter_mut().zip(names) {
                class.name = name.into();
            }
        }
        classes.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(classes)
    }
}

impl SetOnDisk for Food101 {
    fn splits(&self) -> Vec<String> {
        ["train", "test"].map(String::from).into()
    }

    fn open(&self, split: &str) -> Result<Box<dyn Dataset>> {
        let classes = self.classes()?;
        let by_id = class_places(&classes);
        let list = WholeFile::read(&self.folder.join("meta").join(format!("{split}.txt")))?;
        let mut files = Vec::new();
        let mut has_image = vec![false; classes.len()];
        for (at, line) in list.distinct_lines()? {
            let shown = shorten(line, 80);
            let wrong = |what: &str| list.error(format!("line {at} ({shown}) {what}"));
            let (class, id) = line.split_once('/').ok_or_else(|| wrong("isn't CLASS/ID"))?;
            if !is_plain_name(class) || !is_plain_name(id) {
                return Err(wrong("isn't CLASS/ID"));
            }
            let unknown = || wrong("is of a class that classes.txt doesn't name");
            let label = *by_id.get(class).ok_or_else(unknown)?;
            let path = format!("images/{class}/{id}.jpg");
            let file = self.folder.join(&path);
            let state = match std::fs::metadata(&file) {
                Ok(metadata) => FileState::of(&metadata),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Err(wrong(&format!("names an image that isn't there: {path}")));
                }
                Err(source) => return Err(Error::io(file, source)),
            };
            has_image[label as usize] = true;
            files.push(ListedFile { path, label, state });
        }
        if let Some(empty) = has_image.iter().position(|has| !has) {
            let class = &classes[empty].id;
            return Err(list.error(format!("lists no image of the class {class}")));
        }
        Ok(Box::new(FileSet { root: self.folder.clone(), classes, files }))
    }

    fn verify(&self) -> Result<Vec<String>> {
        let names = match self.folder.join("meta/labels.txt").exists() {
            true => "names of classes: meta/labels.txt",
            false => "names of classes: their ids, since meta/labels.txt isn't there",
        };
        Ok(vec![names.into()])
    }
}
