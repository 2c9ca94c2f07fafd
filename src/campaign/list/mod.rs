//! Faults from a list that another tool, or a person, wrote.
//!
//! CSV with a heading. Columns are the keys of a fault as `predict --fault` takes them (`layer`, `image`,
//! `channel`, `row`, `column`, `bit`, and where they are needed `site`, `k`, `parameter`, `index`, `model`,
//! `value`, …), in any order; `layer` and `image`, the number of an evaluation image from 0, are always there.
//! An empty cell is a key that isn't given, and an error where it would be taken for 0. A file that
//! `flipside export` wrote is a list, too: it gives the faults of its records.

mod table;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::campaign::layers::{self, Layer};
use crate::campaign::list::table::{FaultFile, ListRow};
use crate::campaign::trial::Fault;
use crate::fault::{FaultEntry, FaultSpec, Site};
use crate::models::Model;
use crate::number::{Compute, Format};
use crate::results::Golden;
use crate::tape;
use crate::{Error, Result, hex};

/// A list of faults, each into an image of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultList {
    path: PathBuf,
    rows: Vec<ListRow>,
    notes: Vec<String>,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// A fault of a list.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    /// The row's number in the list, from 0.
    pub n: u64,
    /// Place in the campaign's image list.
    pub image: usize,
    pub fault: Fault,
}

impl FaultList {
    /// Reads a list.
    ///
    /// # Errors
    /// The file and line of what can't be read as a fault; a list without faults.
    pub fn open(path: &Path) -> Result<FaultList> {
        let bytes = std::fs::read(path).map_err(|source| Error::io(path, source))?;
        let FaultFile { rows, notes } = FaultFile::read(path, &bytes)?;
        let sha256 = hex(&Sha256::digest(&bytes));
        Ok(FaultList { path: path.into(), rows, notes, sha256 })
    }

    /// What of the file was passed over, in sentences.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Faults.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none, which [`FaultList::open`] refuses.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Refuses a list that names an image beyond the `count` that there are, or one by another path than the
    /// data has it by.
    ///
    /// # Errors
    /// The file and line of the first.
    pub fn check_images(&self, count: usize, path: impl Fn(usize) -> String) -> Result<()> {
        for ListRow { line, spec, image_path, .. } in &self.rows {
            let wrong = |detail| Err(Error::file(&self.path, format!("line {line}: {detail}")));
            let image = spec.image;
            if image >= count {
                return wrong(format!("there is no image {image}, but {count}, from 0"));
            }
            if let Some(theirs) = image_path
                && *theirs != path(image)
            {
                let ours = path(image);
                return wrong(format!("image {image} is {ours} here, but {theirs} in the list"));
            }
        }
        Ok(())
    }

    /// The numbers of the images that it names, in ascending order.
    pub fn images(&self) -> Vec<usize> {
        let mut images: Vec<usize> = self.rows.iter().map(|row| row.spec.image).collect();
        images.sort_unstable();
        images.dedup();
        images
    }

    /// Whether every fault hits what a range is known of.
    pub fn has_ranges(&self) -> bool {
        self.rows.iter().all(|row| row.spec.site.has_range())
    }

    /// The layers that it names, in the model's order, and the faults of each.
    pub(super) fn place(
        &self,
        model: &Model,
        goldens: &[Golden],
        compute: Compute,
    ) -> Result<Vec<(Layer, Vec<Listed>)>> {
        let (outputs, parameters) = (layers::layers(model), layers::parameters(model));
        let mut placed: Vec<(Layer, Vec<Listed>)> = Vec::new();
        for (n, row) in self.rows.iter().enumerate() {
            let ListRow { line, spec, .. } = row;
            let bad = |error: Error| Error::file(&self.path, format!("line {line}: {error}"));
            let (layer, entries) = if spec.site == Site::Weight {
                weight(model, &parameters, spec).map_err(bad)?
            } else {
                value(model, &outputs, spec, compute).map_err(bad)?
            };
            check_export(model, row, &layer, &entries).map_err(bad)?;
            let image = goldens.iter().position(|golden| golden.image == spec.image);
            let image = image.ok_or_else(|| {
                bad(Error::usage(format!("there is no image {} among the evaluated", spec.image)))
            })?;
            let listed = Listed { n: n as u64, image, fault: Fault { site: spec.site, entries } };
            match placed.iter_mut().find(|(known, _)| known.name == layer.name) {
                Some((_, rows)) => rows.push(listed),
                None => placed.push((layer, vec![listed])),
            }
        }
        placed.sort_by_key(|(layer, _)| layer.node);
        Ok(placed)
    }
}

/// Refuses a row whose coordinates aren't those of the element, or whose sizes aren't the layer's, as an export
/// has them: it is of another model.
fn check_export(model: &Model, row: &ListRow, layer: &Layer, entries: &[FaultEntry]) -> Result<()> {
    if let (Some(element), [entry]) = (row.element, entries)
        && element != entry.element
    {
        return Err(Error::usage(format!(
            "element {element} isn't where the other columns say, which is element {}; where places were \
             changed, leave the column element out",
            entry.element
        )));
    }
    let Some(sizes) = &row.sizes else { return Ok(()) };
    let there = match (&layer.parameter, model.tape.node_at(layer.node, row.spec.site)) {
        (Some(parameter), _) => parameter.shape.clone(),
        (None, Some(node)) => layers::sizes(model.tape.node(node).spec.map).to_vec(),
        (None, None) => layers::sizes(layer.map).to_vec(),
    };
    if *sizes != there {
        return Err(Error::usage(format!(
            "the list has sizes {sizes:?} for the {} of '{}', but they are {there:?}",
            row.spec.site.name(),
            layer.name
        )));
    }
    Ok(())
}

/// The entry of a parameter.
fn weight(
    model: &Model,
    parameters: &[Layer],
    spec: &FaultSpec,
) -> Result<(Layer, Vec<FaultEntry>)> {
    let (id, index) = tape::weight_entry(&model.tape, spec)?;
    let is_read = |layer: &&Layer| layer.parameter.as_ref().is_some_and(|p| p.id == id);
    let Some(layer) = parameters.iter().find(is_read) else {
        let name = &model.tape.params()[id.0].name;
        return Err(Error::usage(format!("nothing on the way to the logits reads '{name}'")));
    };
    let masks = spec.masks(&layer.name, index as u64, Format::F32)?;
    Ok((layer.clone(), vec![FaultEntry::at(Site::Weight, index as u64, 0, masks)]))
}

/// The elements of a layer that a fault hits.
fn value(
    model: &Model,
    outputs: &[Layer],
    spec: &FaultSpec,
    compute: Compute,
) -> Result<(Layer, Vec<FaultEntry>)> {
    if spec.site == Site::StoreAstray {
        return Err(Error::usage(
            "lists don't hold misdirected stores; `predict --fault` runs one",
        ));
    }
    let node = model.tape.find(&spec.layer)?;
    let entries = tape::entries(&model.tape, node, spec, compute)?;
    let known = outputs.iter().find(|layer| layer.node == node).cloned();
    Ok((known.unwrap_or_else(|| layers::of_node(model, node)), entries))
}
