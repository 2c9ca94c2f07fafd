//! `flipside predict --fault`: what the faults of an image hit, and its answer without them.

use crate::Result;
use crate::detector::Detector;
use crate::fault::{FaultEntry, FaultSpec, Site, ValueKind};
use crate::models::Network;
use crate::number::{Format, canonical};
use crate::report::{FaultyAnswer, HitBy, HitValue, Injection};
use crate::results::{Effect, Golden, Values};
use crate::tape::{Execution, PlanKind, entries, format_at, pair_name, weight_entry};

/// The injection into image number `number`, `pixels` of which is called `name`, that gave it the `faulty` logits; `None`
/// where no fault is of this image.
///
/// # Errors
/// What running says.
pub(super) fn injection(
    network: &Network,
    (number, name): (usize, &str),
    pixels: &[f32],
    faults: &[FaultSpec],
    faulty: &[f32],
) -> Result<Option<Injection>> {
    let faults: Vec<&FaultSpec> = faults.iter().filter(|fault| fault.image == number).collect();
    if faults.is_empty() {
        return Ok(None);
    }
    let Network { model, weights } = network;
    // Values between all nodes have to be there.
    let mut clean = network.execution(PlanKind::Golden, 1, &[model.logits])?;
    clean.begin(1)?;
    clean.write(model.image, pixels)?;
    clean.forward(weights)?;
    let logits = clean.read(model.logits)?;
    // Without labels: losses are against the answer itself.
    let top1 = crate::logits::argmax(&logits);
    let golden = Golden::new(number, top1 as u32, logits);
    let hit = faults.into_iter().map(|fault| hit(network, &clean, fault)).collect::<Result<_>>()?;
    let effect = Effect::of(&golden, faulty);
    Ok(Some(Injection {
        number: None,
        layer: String::new(),
        image: name.into(),
        file: name.into(),
        class: top1,
        is_label: false,
        hit,
        range: None,
        loss: golden.score.loss,
        logits: golden.logits,
        faulty: vec![FaultyAnswer { detector: Detector::None, logits: faulty.to_vec(), effect }],
    }))
}

/// What a fault hits, by the values of a pass without faults.
fn hit(network: &Network, clean: &Execution, fault: &FaultSpec) -> Result<HitBy> {
    let Network { model, weights } = network;
    let tape = &model.tape;
    let (layer, values) = if fault.site == Site::Weight {
        let (id, index) = weight_entry(tape, fault)?;
        let name = &tape.params()[id.0].name;
        let masks = fault.masks(name, index as u64, Format::F32)?;
        let entry = FaultEntry::at(Site::Weight, index as u64, 0, masks);
        (name, vec![value(&entry, Format::F32, Some(weights.bits(id, index)?))])
    } else {
        let node = tape.find(&fault.layer)?;
        let compute = network.device().compute();
        let op = tape.node(node).op.as_deref();
        let inputs = tape.input_specs(node);
        let format = op.map_or(Format::F32, |op| format_at(op, &inputs, fault.site, compute));
        let at = tape.node_at(node, fault.site).filter(|_| fault.site.value() == ValueKind::Known);
        let known = at.map(|at| Ok((tape.node(at).spec.map, clean.read(at)?))).transpose()?;
        let values = entries(tape, node, fault, compute)?.into_iter().map(|entry| {
            let before = known.as_ref().and_then(|(map, values): &(_, Vec<f32>)| {
                let map: &crate::tensor::Map = map;
                values.get(map.memory_index(entry.element as usize)).map(|value| value.to_bits())
            });
            value(&entry, format, before)
        });
        (&tape.node(node).name, values.collect())
    };
    Ok(HitBy {
        // Of the image in its own right, so that it can be tried alone.
        fault: FaultSpec { image: 0, ..fault.clone() }.to_string(),
        layer: pair_name(layer).into(),
        site: fault.site.name(),
        values,
    })
}

fn value(entry: &FaultEntry, format: Format, before: Option<u32>) -> HitValue {
    let masks = entry.masks();
    let is_flip = masks.and == u32::MAX && masks.or == 0;
    let values = before.map(canonical).map(|before| {
        let after = masks.apply(before);
        Values { before, after, seen: after }
    });
    HitValue { mask: if is_flip { masks.xor } else { 0 }, format, values }
}
