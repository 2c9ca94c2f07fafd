//! A set in one file of this program's own.

use std::path::Path;

use super::{SetOnDisk, Sighting};
use crate::Result;
use crate::data::{Dataset, Pack};

pub(super) fn look(root: &Path) -> Result<Sighting> {
    Ok(match Pack::is_pack(root)? {
        true => Sighting::Whole(Box::new(Pack::open(root)?)),
        false => Sighting::Nothing,
    })
}

impl SetOnDisk for Pack {
    fn splits(&self) -> Vec<String> {
        Pack::splits(self)
    }

    fn open(&self, split: &str) -> Result<Box<dyn Dataset>> {
        Ok(Box::new(self.split(split)?))
    }

    fn verify(&self) -> Result<Vec<String>> {
        Ok(vec![format!("SHA-256 {}", self.sha256())])
    }
}
