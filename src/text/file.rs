//! Text features from a file: one tensor of classes × width.

use std::path::Path;

use super::TextFeatures;
use crate::checkpoint::Checkpoint;
use crate::data::ClassList;
use crate::{Error, Result};

/// Reads `path` (`.pth` or safetensors, a single matrix). Row i belongs to class i of `classes`
/// where a list is given, else to the class of number i.
///
/// # Errors
/// A file that isn't one matrix; a list of another length.
pub fn open(path: &Path, classes: Option<&ClassList>) -> Result<TextFeatures> {
    let checkpoint = Checkpoint::open(path)?;
    let tensor = checkpoint.tensor_only()?;
    let &[rows, width] = tensor.shape.as_slice() else {
        return Err(Error::file(
            path,
            format!("text features are a matrix of classes × width, not {:?}", tensor.shape),
        ));
    };
    let names = match classes {
        Some(list) if list.len() == rows => {
            list.entries().iter().map(|entry| entry.name.clone()).collect()
        }
        Some(list) => {
            let detail = format!("holds {rows} classes, but the class list {}", list.len());
            return Err(Error::file(path, detail));
        }
        None => (0..rows).map(|row| format!("class {row}")).collect(),
    };
    TextFeatures::from_rows(names, tensor.to_f32(), width)
}
