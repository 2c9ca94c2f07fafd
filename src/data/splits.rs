//! A data set as commands use it: found out of a path, opened by its splits.

use std::path::{Path, PathBuf};

use super::within::{HELD_OUT, first_of};
use super::{ClassList, Dataset, ImageSet, SetLayout};
use crate::{Error, Result};

/// A data set's splits, where its layout has them.
pub struct Splits {
    root: PathBuf,
    layout: SetLayout,
}

impl Splits {
    /// The data set at `root`, in the layout that is `asked` for or else found out.
    ///
    /// # Errors
    /// Those of [`SetLayout::of`].
    pub fn find(root: &Path, asked: Option<SetLayout>) -> Result<Self> {
        let layout = asked.map_or_else(|| SetLayout::of(root), Ok)?;
        Ok(Splits { root: root.into(), layout })
    }

    /// Where the set lies.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How the set is laid out.
    pub fn layout(&self) -> SetLayout {
        self.layout
    }

    /// The names of the splits that are there; none of a folder that holds class folders itself.
    ///
    /// # Errors
    /// What can't be read, by name.
    pub fn names(&self) -> Result<Vec<String>> {
        self.layout.splits(&self.root)
    }

    /// The split of this name.
    ///
    /// # Errors
    /// [`Error::Usage`] naming those that are there where it isn't; what keeps it from being read, by name.
    pub fn open(&self, name: &str) -> Result<ImageSet> {
        let names = self.names()?;
        if !names.iter().any(|there| there == name) {
            let root = self.root.display();
            let detail = match names.is_empty() {
                true => format!("{root}: has no splits, and so none named {name}"),
                false => format!("{root}: has no split {name}; it has {}", names.join(", ")),
            };
            return Err(Error::usage(detail));
        }
        self.split(name)
    }

    /// The splits of these names, with them; all that are there where none is named.
    ///
    /// # Errors
    /// As [`open`](Splits::open); [`Error::Usage`] for a name that is there twice; [`Error::File`] if there are none.
    pub fn chosen(&self, names: &[String]) -> Result<Vec<(String, ImageSet)>> {
        if let Some(twice) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
            return Err(Error::usage(format!("split {} is named twice", twice.1)));
        }
        let all = if names.is_empty() { self.names()? } else { names.to_vec() };
        if all.is_empty() {
            return Err(self.lacks("train, val, validation or test"));
        }
        all.into_iter().map(|name| Ok((name.clone(), self.open(&name)?))).collect()
    }

    /// As [`chosen`](Splits::chosen), but of a folder that holds class folders itself those, as a split without a name.
    ///
    /// # Errors
    /// As [`chosen`](Splits::chosen).
    pub fn chosen_or_whole(&self, names: &[String]) -> Result<Vec<(String, ImageSet)>> {
        match names.is_empty() && self.names()?.is_empty() {
            true => Ok(vec![(String::new(), self.evaluated()?)]),
            false => self.chosen(names),
        }
    }

    fn split(&self, name: &str) -> Result<ImageSet> {
        let place = match self.layout {
            SetLayout::Folders => self.root.join(name),
            _ => self.root.clone(),
        };
        let set = ImageSet::new(self.layout.open(&self.root, name)?.into(), &place);
        let published = self.layout.published_count(name).filter(|count| *count != set.len());
        let note = published.map(|count| {
            let (root, title) = (self.root.display(), self.layout.title());
            format!("{root}: {} images in {name}, where {title} has {count}", set.len())
        });
        Ok(set.noted(note))
    }

    /// Whether there are images for training.
    ///
    /// # Errors
    /// What can't be read, by name.
    pub fn has_train(&self) -> Result<bool> {
        Ok(self.names()?.iter().any(|name| name == "train"))
    }

    /// The images for training.
    ///
    /// # Errors
    /// [`Error::File`] if there are none; what keeps them from being read, by name.
    pub fn train(&self) -> Result<ImageSet> {
        match self.has_train()? {
            true => self.split("train"),
            false => Err(self.lacks("train")),
        }
    }

    /// The images held out of training: those of the first of val, validation and test that is there.
    ///
    /// # Errors
    /// [`Error::File`] if there are none; what keeps them from being read, by name.
    pub fn held_out(&self) -> Result<ImageSet> {
        match self.held_out_name()? {
            Some(name) => self.split(name),
            None => Err(self.lacks("val, validation or test")),
        }
    }

    fn held_out_name(&self) -> Result<Option<&'static str>> {
        let names = self.names()?;
        Ok(HELD_OUT.into_iter().find(|name| names.iter().any(|there| there == name)))
    }

    fn lacks(&self, names: &str) -> Error {
        Error::file(&self.root, format!("has no {} named {names}", self.word()))
    }

    /// What a split is called.
    pub fn word(&self) -> &'static str {
        match self.layout {
            SetLayout::Folders => "folder",
            _ => "split",
        }
    }

    /// The split whose images have this fingerprint, if one has.
    ///
    /// # Errors
    /// What can't be read, by name.
    pub fn with_fingerprint(&self, fingerprint: &str) -> Result<Option<ImageSet>> {
        for name in self.names()? {
            // A split that can't be read isn't the one, or its user hears of it there.
            if let Ok(set) = self.split(&name)
                && set.fingerprint() == fingerprint
            {
                return Ok(Some(set));
            }
        }
        Ok(None)
    }

    /// The images that an evaluation is of: those held out, or of a folder that holds class folders itself, those.
    ///
    /// # Errors
    /// What keeps them from being read, by name.
    pub fn evaluated(&self) -> Result<ImageSet> {
        if self.layout == SetLayout::Folders {
            let split = first_of(&self.root, HELD_OUT)?;
            if split.is_none() && self.has_train()? {
                let error = self.lacks("val, validation or test");
                return Err(Error::usage(format!(
                    "{error}; --split train takes its training images"
                )));
            }
            return ImageSet::folder(&split.unwrap_or_else(|| self.root.clone()));
        }
        self.held_out()
    }

    /// The images for training and those held out, of the same classes; named by a list, where there is one.
    ///
    /// # Errors
    /// [`Error::File`] if one of the two is missing or their classes differ; [`Error::Usage`] as of
    /// [`ImageSet::named`]; what keeps them from being read, by name.
    pub fn train_and_held_out(&self, list: Option<&ClassList>) -> Result<[ImageSet; 2]> {
        let (train, held_out) = (self.train()?, self.held_out()?);
        let missing = |from: &ImageSet, other: &ImageSet| {
            from.ids().find(|&id| !other.ids().any(|there| there == id)).map(str::to_string)
        };
        let [train_root, root] = [train.root(), held_out.root()];
        if let Some(id) = missing(&train, &held_out) {
            return Err(Error::file(root, format!("lacks the class {id} that train has")));
        }
        if let Some(id) = missing(&held_out, &train) {
            let detail = format!("lacks the class {id} that {} has", root.display());
            return Err(Error::file(train_root, detail));
        }
        Ok(match list {
            Some(list) => [train.named(list)?, held_out.named(list)?],
            None => [train, held_out],
        })
    }

    /// The classes, in the order of the set: of class folders their names, with blanks for underscores.
    ///
    /// # Errors
    /// [`Error::File`] for a folder without class folders; what can't be read, by name.
    pub fn class_list(&self) -> Result<ClassList> {
        if self.layout == SetLayout::Folders {
            return super::within::class_folders(&self.root);
        }
        let set = match (self.has_train()?, self.held_out_name()?, self.names()?.first()) {
            (true, ..) => self.train()?,
            (false, None, Some(other)) => self.split(other)?,
            (false, ..) => self.held_out()?,
        };
        Ok(ClassList::from_entries(set.classes().to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::within::tests::folder;
    use super::*;

    fn evaluated(root: &Path) -> PathBuf {
        Splits::find(root, None).unwrap().evaluated().unwrap().root().into()
    }

    #[test]
    fn a_data_set_s_folder_means_its_held_out_split() {
        let set = folder(&["train/cat/1.png", "val/cat/1.png", "test/cat/1.png"]);
        let val = set.path().join("val");
        assert_eq!(evaluated(set.path()), val);
        assert_eq!(evaluated(&val), val);
        // A class of that name.
        let classes = folder(&["val/1.png", "cat/1.png"]);
        assert_eq!(evaluated(classes.path()), classes.path());
    }

    #[test]
    fn a_split_that_is_not_there_is_refused_beside_those_that_are() {
        let set = folder(&["train/cat/1.png", "test/cat/1.png"]);
        let splits = Splits::find(set.path(), None).unwrap();
        assert_eq!(splits.open("test").unwrap().path(0), "cat/1.png");
        let error = splits.open("val").err().unwrap().to_string();
        assert!(error.contains("has no split val; it has train, test"), "{error}");
        let fingerprint = splits.train().unwrap().fingerprint();
        assert_eq!(splits.with_fingerprint(&fingerprint).unwrap().unwrap().len(), 1);
        assert!(splits.with_fingerprint("none").unwrap().is_none());
    }
}
