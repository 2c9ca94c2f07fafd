//! Class folders in folders of splits.

use std::path::{Path, PathBuf};

use super::{SetOnDisk, Sighting};
use crate::data::listing::{ItemKind, list_all};
use crate::data::within::HELD_OUT;
use crate::data::{Dataset, ImageFolder};
use crate::{Error, Result};

struct SplitFolders {
    root: PathBuf,
    splits: Vec<String>,
}

/// The names of the folders in a folder, sorted; none if it isn't there.
pub(super) fn folders_in(dir: &Path) -> Result<Vec<String>> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let items = list_all(dir)?.into_iter();
    let folders = items.filter(|item| matches!(item.kind, ItemKind::Folder));
    Ok(folders.map(|item| item.name).collect())
}

pub(super) fn look(root: &Path) -> Result<Sighting> {
    std::fs::metadata(root).map_err(|source| Error::io(root, source))?;
    let mut splits = Vec::new();
    for split in ["train"].into_iter().chain(HELD_OUT) {
        if !folders_in(&root.join(split))?.is_empty() {
            splits.push(split.to_string());
        }
    }
    Ok(match splits.is_empty() {
        true => Sighting::Nothing,
        false => Sighting::Whole(Box::new(SplitFolders { root: root.to_path_buf(), splits })),
    })
}

impl SetOnDisk for SplitFolders {
    fn splits(&self) -> Vec<String> {
        self.splits.clone()
    }

    fn open(&self, split: &str) -> Result<Box<dyn Dataset>> {
        Ok(Box::new(ImageFolder::open(&self.root.join(split))?))
    }

    fn verify(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for split in &self.splits {
            lines.extend(ImageFolder::open(&self.root.join(split))?.passed_over());
        }
        Ok(lines)
    }
}
