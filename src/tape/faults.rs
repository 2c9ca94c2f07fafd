//! Faults as users name them, put where they belong on a tape.

use super::{Execution, NodeId, Tape, Weights};
use crate::device::Compute;
use crate::fault::{FaultEntry, FaultSpec, FaultTable, Format, Shape, Site, SiteClass};
use crate::ops::Op;
use crate::tensor::{Map, Spec};
use crate::{Error, Result};

impl Execution {
    /// Arms every fault of `specs`, beside what is armed already on other layers.
    ///
    /// # Errors
    /// [`Error::Usage`] for a layer or parameter that isn't there, a place outside of it, a site that it
    /// doesn't have, or one that this device doesn't have.
    pub fn arm_all(&mut self, weights: &Weights, specs: &[FaultSpec]) -> Result<()> {
        let tape = self.tape().clone();
        let mut layers: Vec<(NodeId, Vec<(usize, FaultEntry)>)> = Vec::new();
        for (id, spec) in specs.iter().enumerate() {
            if spec.site == Site::Weight {
                self.arm_weight(weights, spec)?;
                continue;
            }
            let node = tape.find(&spec.layer)?;
            let entries = entries(&tape, node, spec, id as u32, self.device.compute())?;
            let map = tape.node(node).spec.map;
            let lost = |entry: &FaultEntry| {
                entry.site() == Some(Site::StoreAstray) && entry.lands_at(map).is_none()
            };
            if entries.iter().any(lost) && spec.offset_bit >= 2 {
                return Err(Error::usage(format!(
                    "bit {} of the offset sends the store of layer '{}' outside the image's output: an error \
                     that is detected (DUE); nothing is run",
                    spec.offset_bit, spec.layer
                )));
            }
            let entries = entries.into_iter().map(|entry| (spec.image, entry));
            match layers.iter_mut().find(|(known, _)| *known == node) {
                Some((_, of_node)) => of_node.extend(entries),
                None => layers.push((node, entries.collect())),
            }
        }
        for (id, entries) in layers {
            let table = self.table_of(id, &entries)?;
            self.arm(id, table)?;
        }
        Ok(())
    }

    /// The table of `faults` (image of the batch, entry) in a node, for the batch that was begun.
    ///
    /// # Errors
    /// Those of [`FaultTable::of_sites`].
    pub fn table_of(&self, id: NodeId, faults: &[(usize, FaultEntry)]) -> Result<FaultTable> {
        let node = self.tape().node(id);
        let inputs = self.tape().input_specs(id);
        // A layer that all images share has one map, image 0's.
        let images = node.spec.maps(self.images());
        let space = |site| node.op.as_ref().and_then(|op| op.site_space(site, &inputs));
        FaultTable::of_sites(&node.name, images, space, faults)
    }
}

/// The entries of one fault at a site of a layer: one, or one an element of its shape; formats and tiles
/// are those of the kernel that multiplies as `compute` says.
pub fn entries(
    tape: &Tape,
    id: NodeId,
    fault: &FaultSpec,
    number: u32,
    compute: Compute,
) -> Result<Vec<FaultEntry>> {
    let node = tape.node(id);
    let inputs = tape.input_specs(id);
    let op = node.op.as_deref();
    let has = |site| op.and_then(|op| op.site_space(site, &inputs));
    let Some(op) = op.filter(|_| has(fault.site).is_some()) else {
        let sites = Site::ALL.into_iter().filter(|site| has(*site).is_some()).map(Site::name);
        let sites = sites.collect::<Vec<_>>().join(", ");
        let known = match sites.as_str() {
            "" => "faults can't be put into it".to_string(),
            sites => format!("it has {sites}"),
        };
        return Err(Error::usage(format!(
            "layer '{}' has no fault site {}: {known}",
            fault.layer,
            fault.site.name()
        )));
    };
    let format = match fault.site {
        Site::OperandA | Site::OperandB | Site::SharedA | Site::SharedB => {
            op.variant(&inputs, compute).map_or(Format::Fp32, |variant| variant.operands)
        }
        _ => Format::Fp32,
    };
    let k = match fault.site {
        Site::StoreAstray => fault.offset_bit,
        _ => fault.k as u32,
    };
    elements(op, node.spec, &inputs, fault, compute)?
        .into_iter()
        .map(|element| {
            let masks = fault.masks(&fault.layer, element, format)?;
            let entry = FaultEntry::at(fault.site, element, k, masks, number);
            Ok(FaultEntry { format: format.code(), ..entry })
        })
        .collect()
}

/// The elements that a fault hits, see [`FaultEntry::element`].
fn elements(
    op: &dyn Op,
    output: Spec,
    inputs: &[Spec],
    fault: &FaultSpec,
    compute: Compute,
) -> Result<Vec<u64>> {
    if fault.site.class() == SiteClass::Inner && !fault.site.has_term() {
        return attention_element(op, inputs, fault).map(|element| vec![element]);
    }
    let (map, what) = match fault.site {
        Site::Input => (inputs[0].map, "input"),
        _ => (output.map, "output"),
    };
    require_inside(map, what, fault)?;
    let element = |m: usize, n: usize| (n * map.pixels() + m) as u64;
    let m = fault.row * map.width + fault.column;
    Ok(match fault.shape {
        Shape::Element => vec![element(m, fault.channel)],
        Shape::Row => (0..map.channels).map(|n| element(m, n)).collect(),
        Shape::Column => (0..map.pixels()).map(|m| element(m, fault.channel)).collect(),
        Shape::Tile => {
            let tile = op.gemm_view(inputs).zip(op.variant(inputs, compute));
            let Some((view, variant)) = tile else {
                return Err(Error::usage(format!("layer '{}' has no tiles", fault.layer)));
            };
            let (rows, columns) = variant.tile_of(view, m, fault.channel);
            rows.iter().flat_map(|m| columns.iter().map(|n| element(*m, *n))).collect()
        }
    })
}

fn require_inside(map: Map, what: &str, fault: &FaultSpec) -> Result<()> {
    for (name, value, size) in [
        ("channel", fault.channel, map.channels),
        ("row", fault.row, map.height),
        ("column", fault.column, map.width),
    ] {
        if value >= size {
            return Err(Error::usage(format!(
                "fault lies outside the tensor: {name} {value}, but the {what} of layer '{}' is {map} \
                 (channels×height×width)",
                fault.layer
            )));
        }
    }
    Ok(())
}

/// (head · pixels + query) · keys + key.
fn attention_element(op: &dyn Op, inputs: &[Spec], fault: &FaultSpec) -> Result<u64> {
    let map = inputs[0].map;
    let space = op.site_space(fault.site, inputs).map_or(0, |space| space.elements);
    let heads = op.heads().max(1);
    let keys = space as usize / (heads * map.pixels()).max(1);
    for (name, value, size) in [
        ("head", fault.head, heads),
        ("row", fault.row, map.height),
        ("column", fault.column, map.width),
        ("key", fault.key, keys),
    ] {
        if value >= size {
            return Err(Error::usage(format!(
                "fault lies outside layer '{}': {name} {value}, there are {size}",
                fault.layer
            )));
        }
    }
    let query = fault.row * map.width + fault.column;
    Ok(((fault.head * map.pixels() + query) * keys + fault.key) as u64)
}
