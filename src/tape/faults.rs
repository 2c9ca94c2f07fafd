//! Faults as users name them, put where they belong on a tape.

use super::{Execution, NodeId, ParamId, Tape, Weights, pair_name};
use crate::fault::place::{Dimension, of_parameter, ravel};
use crate::fault::{Addressed, FaultEntry, FaultSpec, FaultTable, Shape, Site, ValueKind};
use crate::number::{Compute, Format};
use crate::ops::{KernelVariant, Op, Role, Sites};
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
        let sites = self.tape().sites(id);
        // A layer that all images share has one map, image 0's.
        let images = node.spec.maps(self.images());
        FaultTable::of_sites(&node.name, images, |site| sites.space(site), faults)
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
    let (inputs, sites) = (tape.input_specs(id), tape.sites(id));
    let has = |site: &Site| sites.space(*site).is_some();
    let Some(op) = node.op.as_deref().filter(|_| has(&fault.site)) else {
        let names: Vec<&str> = Site::ALL.into_iter().filter(has).map(Site::name).collect();
        let known = match names.join(", ").as_str() {
            "" => "faults can't be put into it".to_string(),
            names => format!("it has {names}"),
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
    let variant = op.variant(&inputs, compute);
    elements(sites, variant, node.spec.map, fault)?
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
        ValueKind::Operand => op.variant(inputs, compute).map_or(Format::F32, |of| of.operands),
        ValueKind::Known | ValueKind::Hidden => Format::F32,
    }
}

/// The elements that a fault hits, see [`FaultEntry::element`].
fn elements(
    sites: Sites,
    variant: Option<KernelVariant>,
    map: Map,
    fault: &FaultSpec,
) -> Result<Vec<u64>> {
    let dimensions = dimensions(sites, map, fault.site);
    let within = |dimensions: &[Dimension]| {
        let bad = |detail| {
            let site = fault.site.name();
            Error::usage(format!("fault in the {site} of layer '{}': {detail}", fault.layer))
        };
        fault.place.within(dimensions).map_err(bad)
    };
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
            let Some((view, variant)) = sites.gemm_view().zip(variant) else {
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
fn dimensions(sites: Sites, output: Map, site: Site) -> Vec<Dimension> {
    let map = match sites {
        Sites::Scores { heads, queries: Map { height, width, .. }, keys } => {
            return vec![("head", heads), ("row", height), ("column", width), ("key", keys)];
        }
        Sites::Product { input, .. } if site.addressed() == Addressed::Input => input,
        _ => output,
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
