//! One image's way through a network, and back from a target to a layer.

use super::cam::{Method, Saliency};
use crate::error::some_of;
use crate::fault::{FaultSpec, Site};
use crate::models::{Model, Network};
use crate::nn::Head;
use crate::tape::{Execution, NodeId, PlanKind, pair_name};
use crate::{Error, Result};

/// What is differentiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aim {
    /// Row of the last layer.
    pub class: usize,
    /// The cosine to the row of a text-guided head, which is the logit before the scale, and not the logit. Maps of the
    /// two differ by a factor.
    pub cosine: bool,
}

/// A network with memory for one image, its way back included.
pub struct Probe<'n> {
    network: &'n Network,
    layer: NodeId,
    execution: Execution,
    /// Whether the last pass's values are still there: the way back writes over them.
    is_fresh: bool,
}

/// The layer called `name`, with or without `backbone.`, whose output maps are made of.
///
/// # Errors
/// [`Error::Usage`] for a layer that isn't there, or whose output is no map of the image that the logits follow from;
/// both name layers that will do.
pub fn layer(model: &Model, name: &str) -> Result<NodeId> {
    let tape = &model.tape;
    let Ok(id) = tape.find(name) else {
        let known = fitting(model);
        return Err(Error::usage(format!("the model has no layer '{name}'; {known}")));
    };
    let refused = |why: &str| {
        let (name, known) = (&tape.node(id).name, fitting(model));
        Err(Error::usage(format!("layer '{name}' {why}; {known}")))
    };
    let spec = tape.node(id).spec;
    if spec.map.pixels() == 1 {
        return refused("puts out a vector, which has no height and width to make a map of");
    }
    if spec.shared || !follows_from(model, id) {
        return refused("isn't a layer that the image goes through on its way to the logits");
    }
    Ok(id)
}

/// Whether the image is before a layer and the logits behind it.
fn follows_from(model: &Model, id: NodeId) -> bool {
    let tape = &model.tape;
    let is_behind = tape.node(id).op.is_some() && tape.needed_for(&[id])[model.image.0];
    is_behind && tape.needed_for(&[model.logits])[id.0]
}

/// The last layer whose map has `pixels` or more, where there is one.
pub fn layer_of_size(model: &Model, pixels: usize) -> Option<&str> {
    let mut large = resolutions(model).into_iter().rev().filter(|(size, _)| *size >= pixels);
    large.next().map(|(_, id)| pair_name(&model.tape.node(id).name))
}

/// The last layer of each resolution, in order, with its pixels.
fn resolutions(model: &Model) -> Vec<(usize, NodeId)> {
    let mut last: Vec<(usize, NodeId)> = Vec::new();
    for (index, node) in model.tape.nodes().iter().enumerate() {
        let map = node.spec.map;
        if map.pixels() == 1 || node.spec.shared || !follows_from(model, NodeId(index)) {
            continue;
        }
        match last.iter_mut().find(|(pixels, _)| *pixels == map.pixels()) {
            Some(known) => known.1 = NodeId(index),
            None => last.push((map.pixels(), NodeId(index))),
        }
    }
    last
}

/// The last layer of each resolution, in words.
fn fitting(model: &Model) -> String {
    let words = |(_, id): (usize, NodeId)| {
        let node = model.tape.node(id);
        format!("{} ({}×{})", node.name, node.spec.map.height, node.spec.map.width)
    };
    let last: Vec<String> = resolutions(model).into_iter().rev().map(words).collect();
    format!("the last layers of each resolution are {}", some_of(&last, last.len()))
}

impl<'n> Probe<'n> {
    /// Memory for passes with any of `faults`, each alone, on the network's device.
    ///
    /// # Errors
    /// [`Error::Usage`] for a fault in a layer that isn't there; out of memory.
    pub fn new(network: &'n Network, layer: NodeId, faults: &[FaultSpec]) -> Result<Probe<'n>> {
        let model = &network.model;
        let mut outputs = vec![model.logits, model.last_layer, layer];
        // What is hit there is put right behind the pass, so that its memory has to be its own until then.
        for fault in faults.iter().filter(|fault| fault.site == Site::Input) {
            outputs.extend(model.tape.node(model.tape.find(&fault.layer)?).inputs.first());
        }
        let execution = network.execution(PlanKind::Train, 1, &outputs)?;
        Ok(Probe { network, layer, execution, is_fresh: false })
    }

    /// Runs an image, height × width × channels and normalised, with `faults` in it; its logits.
    ///
    /// # Errors
    /// Pixels of another size; a fault that the layer doesn't have a place or site for, or the device no kernel.
    pub fn answer(&mut self, pixels: &[f32], faults: &[FaultSpec]) -> Result<Vec<f32>> {
        let Network { model, weights } = self.network;
        self.execution.disarm();
        self.execution.begin(1)?;
        self.execution.arm_all(weights, faults)?;
        self.execution.write(model.image, pixels)?;
        self.execution.forward(weights)?;
        self.is_fresh = true;
        self.execution.read(model.logits)
    }

    /// The map of the pass that was run last, once a pass; in the inner result why there is none.
    ///
    /// # Errors
    /// [`Error::Usage`] without a pass since the last map, for a class that the network doesn't have, and for the cosine of a network without rows; those
    /// of the device.
    pub fn map(
        &mut self,
        method: Method,
        aim: Aim,
    ) -> Result<std::result::Result<Saliency, String>> {
        let Network { model, weights } = self.network;
        if aim.class >= model.classes {
            let (class, classes) = (aim.class, model.classes);
            return Err(Error::usage(format!(
                "class {class} is out of range: the network has {classes} classes, from 0"
            )));
        }
        if aim.cosine && model.head == Head::Baseline {
            return Err(Error::usage(
                "a baseline has no rows to take a cosine to; its logits are the target",
            ));
        }
        if !std::mem::take(&mut self.is_fresh) {
            return Err(Error::usage("each map takes a pass of its own"));
        }
        let output = if aim.cosine { model.last_layer } else { model.logits };
        let mut seed = vec![0f32; model.classes];
        seed[aim.class] = 1.0;
        let gradients = self.execution.gradient_at(weights, output, &seed, self.layer)?;
        let activations = self.execution.read(self.layer)?;
        let node = model.tape.node(self.layer);
        Ok(method.map(pair_name(&node.name), node.spec.map, &activations, &gradients))
    }
}
