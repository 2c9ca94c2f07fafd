//! Text features in files: one matrix of classes × width, and, in files of this program's own, which
//! class each row is.

use std::collections::BTreeMap;
use std::path::Path;

use super::TextFeatures;
use crate::checkpoint::{Checkpoint, TensorView, write_safetensors};
use crate::data::{ClassEntry, ClassList, Numbering};
use crate::{Error, Result};

/// The tensor's name.
const TENSOR: &str = "text_features";
/// The key of the metadata under which ids and names of the classes stand: JSON, a list of pairs.
const CLASSES: &str = "classes";
/// The key and value that say what a file is.
const FORMAT: (&str, &str) = ("format", "flipside-text-features-1");

/// Reads `path` (`.pth`, `.npy` or safetensors, a single matrix). Row i is class i of the classes that the file
/// names, else of `given`; a list beside a file's own gives its classes other names.
///
/// # Errors
/// A file that isn't one matrix; a list that doesn't fit, as [`Numbering::classes`] says.
pub fn open(path: &Path, given: Option<&ClassList>) -> Result<TextFeatures> {
    read(path, given).map(|(features, _)| features)
}

/// Reads the rows of the classes `wanted` (folders of a data set: ids or names), in their order.
///
/// # Errors
/// As [`open`]; a file without names where no list is given; a class that has no row.
pub fn open_for(
    path: &Path,
    given: Option<&ClassList>,
    wanted: &[ClassEntry],
) -> Result<TextFeatures> {
    let (features, own) = read(path, given)?;
    if own.is_none() && given.is_none() {
        let detail = "its rows have no class names: --class-list says which classes they are";
        return Err(Error::file(path, detail));
    }
    let ids: Vec<&str> = wanted.iter().map(|class| class.id.as_str()).collect();
    let rows = numbering(features.len(), own.as_ref(), given)
        .numbers(&ids)
        .map_err(|error| Error::file(path, error.to_string()))?;
    features.select(rows.into_iter().zip(wanted.iter().map(|class| class.name.clone())).collect())
}

fn numbering<'a>(
    count: usize,
    own: Option<&'a ClassList>,
    given: Option<&'a ClassList>,
) -> Numbering<'a> {
    Numbering { of: "the text features", count, own, given, is_in_folder_order: false }
}

/// The matrix, and the classes that the file itself names.
fn read(path: &Path, given: Option<&ClassList>) -> Result<(TextFeatures, Option<ClassList>)> {
    let checkpoint = Checkpoint::open(path)?;
    let own = own_classes(&checkpoint)?;
    let tensor = checkpoint.tensor_only()?;
    let &[rows, width] = tensor.shape.as_slice() else {
        return Err(Error::file(
            path,
            format!("text features are a matrix of classes × width, not {:?}", tensor.shape),
        ));
    };
    if let Some(own) = own.as_ref().filter(|own| own.len() != rows) {
        let detail = format!("holds {rows} classes, but its own list {}", own.len());
        return Err(Error::file(path, detail));
    }
    let classes = numbering(rows, own.as_ref(), given)
        .classes()
        .map_err(|error| Error::file(path, error.to_string()))?;
    let names = match classes {
        Some(classes) => classes.into_iter().map(|class| class.name).collect(),
        None => (0..rows).map(|row| format!("class {row}")).collect(),
    };
    Ok((TextFeatures::from_rows(names, tensor.data.into_f32(), width)?, own))
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
    ClassList::from_pairs(pairs).map(Some).map_err(|detail| wrong(&detail))
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
    let mut metadata = facts.clone();
    metadata.insert(FORMAT.0.into(), FORMAT.1.into());
    metadata.insert(CLASSES.into(), serde_json::json!(classes.pairs()).to_string());
    let shape = [features.len(), features.width];
    let tensor = TensorView::f32(&shape, &features.rows);
    write_safetensors(path, [(TENSOR, tensor)], &metadata)
}
