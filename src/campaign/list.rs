//! Faults from a list that another tool, or a person, wrote.
//!
//! CSV with a heading. Columns are the keys of a fault as `predict --fault` takes them (`layer`, `image`,
//! `channel`, `row`, `column`, `bit`, and where they are needed `site`, `k`, `parameter`, `index`, `model`,
//! `value`, …), in any order; an empty cell is a key that isn't given. `image` is the number of an
//! evaluation image, from 0.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::golden::Golden;
use super::layers::{self, Layer, Part};
use super::record::Fault;
use crate::device::Compute;
use crate::fault::{FaultEntry, FaultSpec, Format, Site};
use crate::models::Model;
use crate::tape::{self, NodeId};
use crate::{Error, Result};

/// A list of faults, each into an image of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultList {
    path: PathBuf,
    /// Line of the file, and what it says.
    rows: Vec<(u64, FaultSpec)>,
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
        let bad = |error: csv::Error| Error::file(path, format!("isn't a list of faults: {error}"));
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(&*bytes);
        let header = reader.headers().map_err(bad)?.clone();
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(bad)?;
            let line = record.position().map_or(0, csv::Position::line);
            let given = header.iter().zip(&record).filter(|(_, cell)| !cell.is_empty());
            let text: Vec<String> = given.map(|(key, cell)| format!("{key}={cell}")).collect();
            let fault = text.join(",").parse();
            let spec: FaultSpec =
                fault.map_err(|error: Error| Error::file(path, format!("line {line}: {error}")))?;
            rows.push((line, spec));
        }
        if rows.is_empty() {
            return Err(Error::file(path, "holds no fault"));
        }
        Ok(FaultList {
            path: path.into(),
            rows,
            sha256: super::store::hex(&Sha256::digest(&bytes)),
        })
    }

    /// Faults.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none, which [`FaultList::open`] refuses.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The numbers of the images that it names, in ascending order.
    pub fn images(&self) -> Vec<usize> {
        let mut images: Vec<usize> = self.rows.iter().map(|(_, spec)| spec.image).collect();
        images.sort_unstable();
        images.dedup();
        images
    }

    /// Whether every fault hits what a range is known of.
    pub fn has_ranges(&self) -> bool {
        self.rows.iter().all(|(_, spec)| matches!(spec.site, Site::Output | Site::Weight))
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
        for (n, (line, spec)) in self.rows.iter().enumerate() {
            let bad = |error: Error| Error::file(&self.path, format!("line {line}: {error}"));
            let (layer, entries) = if spec.site == Site::Weight {
                weight(&parameters, spec).map_err(bad)?
            } else {
                value(model, &outputs, spec, compute).map_err(bad)?
            };
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

/// The entry of a parameter.
fn weight(parameters: &[Layer], spec: &FaultSpec) -> Result<(Layer, Vec<FaultEntry>)> {
    let last = if spec.parameter.is_empty() { "weight" } else { spec.parameter.as_str() };
    let full = format!("{}.{last}", spec.layer);
    let is_named = |layer: &&Layer| {
        [full.as_str(), spec.layer.as_str()]
            .into_iter()
            .any(|name| layer.name == name || tape::pair_name(&layer.name) == name)
    };
    let Some(layer) = parameters.iter().find(is_named) else {
        return Err(Error::usage(format!("the model has no parameter '{full}' of floats")));
    };
    if spec.index as u64 >= layer.neurons() {
        return Err(Error::usage(format!(
            "'{}' has {} entries, none of index {}",
            layer.name,
            layer.neurons(),
            spec.index
        )));
    }
    let masks = spec.masks(&layer.name, spec.index as u64, Format::Fp32)?;
    Ok((layer.clone(), vec![FaultEntry::at(Site::Weight, spec.index as u64, 0, masks, 0)]))
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
            "lists don't hold stores that go astray; `predict --fault` runs one",
        ));
    }
    let node = model.tape.find(&spec.layer)?;
    let entries = tape::entries(&model.tape, node, spec, 0, compute)?;
    let known = outputs.iter().find(|layer| layer.node == node).cloned();
    Ok((known.unwrap_or_else(|| other(model, node)), entries))
}

/// A layer that campaigns draw no faults for: attention, say.
fn other(model: &Model, id: NodeId) -> Layer {
    let node = model.tape.node(id);
    let op = node.op.as_ref();
    Layer {
        node: id,
        name: node.name.clone(),
        pair_key: tape::pair_name(&node.name).to_string(),
        kind: op.map_or("input", |op| op.kind()),
        part: Part::Backbone,
        map: node.spec.map,
        macs: op.map_or(0, |op| op.cost(&model.tape.input_specs(id)).macs),
        parameter: None,
    }
}
