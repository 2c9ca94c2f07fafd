//! Faults as users name them, put where they belong on a tape.

use super::{Execution, NodeId, ParamId, Tape, Weights, pair_name};
use crate::device::Compute;
use crate::fault::place::{Dimension, of_parameter, ravel};
use crate::fault::{Addressed, FaultEntry, FaultSpec, FaultTable, Format, Shape, Site, ValueKind};
use crate::ops::{Op, Role};
use crate::tensor::Spec;
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
        for spec in specs {
            if spec.site == Site::Weight {
                self.arm_weight(weights, spec)?;
                continue;
            }
            let node = tape.find(&spec.layer)?;
            let entries = entries(&tape, node, spec, self.device.compute())?;
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
    let format = format_at(op, &inputs, fault.site, compute);
    let k = match fault.site {
        Site::StoreAstray => fault.offset_bit,
        _ => fault.k,
    };
    elements(op, node.spec, &inputs, fault, compute)?
        .into_iter()
        .map(|element| {
            let masks = fault.masks(&fault.layer, element, format)?;
            Ok(FaultEntry::at(fault.site, element, k, masks))
        })
        .collect()
}

/// The format of the numbers that faults at a site of a layer hit.
pub fn format_at(op: &dyn Op, inputs: &[Spec], site: Site, compute: Compute) -> Format {
    match site.value() {
        ValueKind::Operand => op.variant(inputs, compute).map_or(Format::Fp32, |of| of.operands),
        ValueKind::Known | ValueKind::Hidden => Format::Fp32,
    }
}

/// The elements that a fault hits, see [`FaultEntry::element`].
fn elements(
    op: &dyn Op,
    output: Spec,
    inputs: &[Spec],
    fault: &FaultSpec,
    compute: Compute,
) -> Result<Vec<u64>> {
    let dimensions = dimensions(op, output, inputs, fault.site);
    let within = |dimensions: &[Dimension]| {
        let bad = |detail| {
            let site = fault.site.name();
            Error::usage(format!("fault in the {site} of layer '{}': {detail}", fault.layer))
        };
        fault.place.within(dimensions).map_err(bad)
    };
    let map = output.map;
    let element = |m: usize, n: usize| map.element_at(m * map.channels + n) as u64;
    Ok(match fault.shape {
        Shape::Element => vec![ravel(&within(&dimensions)?, &dimensions) as u64],
        Shape::Row => {
            let m = ravel(&within(&dimensions[1..])?, &dimensions[1..]);
            (0..map.channels).map(|n| element(m, n)).collect()
        }
        Shape::Column => {
            let channel = within(&dimensions[..1])?[0];
            (0..map.pixels()).map(|m| element(m, channel)).collect()
        }
        Shape::Tile => {
            let tile = op.gemm_view(inputs).zip(op.variant(inputs, compute));
            let Some((view, variant)) = tile else {
                return Err(Error::usage(format!("layer '{}' has no tiles", fault.layer)));
            };
            let at = within(&dimensions)?;
            let (rows, columns) = variant.tile_of(view, ravel(&at[1..], &dimensions[1..]), at[0]);
            rows.iter().flat_map(|m| columns.iter().map(|n| element(*m, *n))).collect()
        }
    })
}

/// What a site of a layer numbers its elements by: channel, row and column of a map, or head, the query's
/// row and column, and key.
fn dimensions(op: &dyn Op, output: Spec, inputs: &[Spec], site: Site) -> Vec<Dimension> {
    let map = match site.addressed() {
        Addressed::Input => inputs[0].map,
        Addressed::Output | Addressed::Parameter => output.map,
        Addressed::Score => {
            let map = inputs[0].map;
            let space = op.site_space(site, inputs).map_or(0, |space| space.elements);
            let heads = op.heads().max(1);
            let keys = space as usize / (heads * map.pixels()).max(1);
            return vec![
                ("head", heads),
                ("row", map.height),
                ("column", map.width),
                ("key", keys),
            ];
        }
    };
    vec![("channel", map.channels), ("row", map.height), ("column", map.width)]
}

/// The entry of a parameter or buffer that a fault of the site `weight` hits: which one, and its index in
/// PyTorch's order.
///
/// # Errors
/// [`Error::Usage`] for a parameter that isn't there or isn't of floats, and a place outside of it.
pub fn weight_entry(tape: &Tape, fault: &FaultSpec) -> Result<(ParamId, usize)> {
    let FaultSpec { layer, parameter, .. } = fault;
    let last = if parameter.is_empty() { "weight" } else { parameter.as_str() };
    let full = format!("{layer}.{last}");
    let mut names = vec![full.as_str()];
    if parameter.is_empty() {
        names.push(layer);
    }
    let named = names.iter().find_map(|name| {
        let params = tape.params();
        let exact = params.iter().position(|param| param.name == *name);
        exact.or_else(|| params.iter().position(|param| pair_name(&param.name) == *name))
    });
    let Some(at) = named else {
        return Err(Error::usage(format!("the model has no parameter '{full}'")));
    };
    let param = &tape.params()[at];
    if matches!(param.spec.role, Role::Counter | Role::Index) {
        let detail = format!("'{}' holds whole numbers: faults hit f32 only", param.name);
        return Err(Error::usage(detail));
    }
    let dimensions = of_parameter(&param.spec.shape);
    let at_place = fault.place.within(&dimensions);
    let place = at_place.map_err(|detail| {
        Error::usage(format!("fault in the parameter '{}': {detail}", param.name))
    })?;
    Ok((ParamId(at), ravel(&place, &dimensions)))
}
