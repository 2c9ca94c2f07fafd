//! Text features in files: one matrix of classes × width, and, in files of this program's own, which
//! class each row is.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use super::TextFeatures;
use crate::checkpoint::{Checkpoint, TensorView, write_safetensors};
use crate::data::{ClassEntry, ClassList};
use crate::{Error, Result};

/// The tensor's name.
const TENSOR: &str = "text_features";
/// The key of the metadata under which ids and names of the classes stand: JSON, a list of pairs.
const CLASSES: &str = "classes";
/// The key and value that say what a file is.
const FORMAT: (&str, &str) = ("format", "flipside-text-features-1");

/// Reads `path` (`.pth`, `.npy` or safetensors, a single matrix). Row i belongs to class i of
/// `classes` where a list is given, else to the class that the file names, else to that of number i.
///
/// # Errors
/// A file that isn't one matrix; a list of another length, or of other ids than the file's.
pub fn open(path: &Path, classes: Option<&ClassList>) -> Result<TextFeatures> {
    let checkpoint = Checkpoint::open(path)?;
    let own = own_classes(&checkpoint)?;
    let tensor = checkpoint.tensor_only()?;
    let &[rows, width] = tensor.shape.as_slice() else {
        return Err(Error::file(
            path,
            format!("text features are a matrix of classes × width, not {:?}", tensor.shape),
        ));
    };
    for (whose, list) in [("the class list", classes), ("its own list", own.as_ref())] {
        if let Some(list) = list.filter(|list| list.len() != rows) {
            let detail = format!("holds {rows} classes, but {whose} {}", list.len());
            return Err(Error::file(path, detail));
        }
    }
    if let (Some(own), Some(given)) = (&own, classes)
        && let Some(row) = (0..rows).find(|&i| own.entries()[i].id != given.entries()[i].id)
    {
        let (own, given) = (&own.entries()[row].id, &given.entries()[row].id);
        let detail = format!("row {row} is {own}, but {given} in the class list");
        return Err(Error::file(path, detail));
    }
    let names = match classes.or(own.as_ref()) {
        Some(list) => list.entries().iter().map(|entry| entry.name.clone()).collect(),
        None => (0..rows).map(|row| format!("class {row}")).collect(),
    };
    TextFeatures::from_rows(names, tensor.data.into_f32(), width)
}

/// The classes that a file names for its rows; none where it has numbers alone.
///
/// # Errors
/// [`Error::Io`] or [`Error::File`] if the file can't be read or its list makes no sense.
pub fn class_list(path: &Path) -> Result<Option<ClassList>> {
    own_classes(&Checkpoint::open(path)?)
}

fn own_classes(checkpoint: &Checkpoint) -> Result<Option<ClassList>> {
    let metadata = checkpoint.metadata();
    let (key, format) = FORMAT;
    let Some(text) =
        metadata.get(CLASSES).filter(|_| metadata.get(key).is_some_and(|f| f == format))
    else {
        return Ok(None);
    };
    let wrong = |what: &str| {
        Error::file(checkpoint.path(), format!("the list of classes in its metadata {what}"))
    };
    let pairs: Vec<(String, String)> =
        serde_json::from_str(text).map_err(|_| wrong("isn't JSON of ids and names"))?;
    let mut ids = HashSet::new();
    if pairs.is_empty() || !pairs.iter().all(|(id, _)| !id.is_empty() && ids.insert(id)) {
        return Err(wrong("is empty, or has an id twice"));
    }
    let entries = pairs.into_iter().map(|(id, name)| ClassEntry { id, name }).collect();
    Ok(Some(ClassList::from_entries(entries)))
}

/// Writes features as safetensors, with their classes and `facts` (where they come from) in the
/// metadata. The same input gives the same bytes; the file appears whole or not at all.
///
/// # Errors
/// [`Error::Shape`] if there are other classes than rows; those of writing.
pub fn save(
    path: &Path,
    features: &TextFeatures,
    classes: &ClassList,
    facts: &BTreeMap<String, String>,
) -> Result<()> {
    if classes.len() != features.len() {
        let detail = format!("{} rows for {} classes", features.len(), classes.len());
        return Err(Error::shape("text features", detail));
    }
    let pairs: Vec<(&str, &str)> =
        classes.entries().iter().map(|entry| (entry.id.as_str(), entry.name.as_str())).collect();
    let mut metadata = facts.clone();
    metadata.insert(FORMAT.0.into(), FORMAT.1.into());
    metadata.insert(CLASSES.into(), serde_json::json!(pairs).to_string());
    let shape = [features.len(), features.width];
    let tensor = TensorView::f32(&shape, &features.rows);
    write_safetensors(path, [(TENSOR, tensor)], &metadata)
}
