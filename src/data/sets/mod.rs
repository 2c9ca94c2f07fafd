//! Layouts in which sets of images are kept.

use std::path::Path;

use strum::{Display, EnumIter, EnumString, IntoStaticStr};

use super::Dataset;
use crate::{Error, Result};

/// A layout in which a set of images is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, EnumIter, EnumString, IntoStaticStr)]
#[strum(serialize_all = "kebab-case", parse_err_ty = Error, parse_err_fn = unknown)]
pub enum Layout {
    /// A folder a class.
    Folders,
}

fn unknown(word: &str) -> Error {
    Error::unknown::<Layout>("data set", word)
}

impl Layout {
    pub fn title(self) -> &'static str {
        "class folders"
    }
    pub fn of(_root: &Path) -> Result<Layout> {
        Ok(Layout::Folders)
    }
    pub fn splits(self, root: &Path) -> Result<Vec<String>> {
        let names = ["train"].into_iter().chain(super::within::HELD_OUT);
        Ok(names.filter(|name| root.join(name).is_dir()).map(String::from).collect())
    }
    pub fn open(self, root: &Path, split: &str) -> Result<Box<dyn Dataset>> {
        Ok(Box::new(super::ImageFolder::open(&root.join(split))?))
    }
}
