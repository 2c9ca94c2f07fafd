//! The end of a model, where every fault can be tried, and its fault-free values.

use std::sync::Arc;

use crate::campaign::layers::{Layer, layers, of_node};
use crate::campaign::{Experiment, forward_passes};
use crate::device::Device;
use crate::logits::hash as hash_logits;
use crate::models::{Model, Network};
use crate::nn::{Head, LOGIT_SCALE};
use crate::ops::scale;
use crate::results::{Golden, Part};
use crate::tape::{NodeId, ParamId, Tape, Weights};
use crate::tensor::Spec;
use crate::{Error, Result};

/// The last layers of a model.
pub(super) struct Tail {
    /// The last layer, before the scale where there is one.
    pub last: Layer,
    /// The place after the scale.
    pub after: Option<Layer>,
    /// What the last layer's numbers are multiplied by; 1 without a scale.
    pub factor: f32,
    /// What the last layer reads.
    pub read: NodeId,
    /// The feature: what the baseline's last layer reads; of a text-guided model, what the backbone's
    /// last Linear makes, before it is normalised if it is.
    pub feature: Layer,
}

impl Tail {
    /// Finds the last layers of a network.
    pub fn new(Network { model, weights }: &Network) -> Result<Tail> {
        let tape = &model.tape;
        let all = layers(model);
        let of = |part| all.iter().find(|layer| layer.part == part).cloned();
        let Some(last) = of(Part::LastLayer) else {
            return Err(Error::usage(
                "the model has no last layer whose output is its images' own",
            ));
        };
        let factor = match model.head {
            Head::Baseline => 1.0,
            Head::TextGuided { .. } => scale::factor(weights.get(weights.find(LOGIT_SCALE)?)?[0]),
        };
        let read = tape.node(last.node).inputs[0];
        let feature = feature(model, read);
        Ok(Tail { after: of(Part::AfterScale), factor, read, feature, last })
    }

    /// The logit that a number of the last layer becomes: what `ops/scale` computes.
    pub fn logit(&self, value: f32) -> f32 {
        if self.after.is_some() { value * self.factor } else { value }
    }

    /// The network behind the feature as a tape of its own, of the same operations, on the CPU: its first node is
    /// the feature, the one that is returned the logits.
    pub fn alone(&self, network: &Network) -> Result<(Arc<Tape>, Weights, NodeId)> {
        let Network { model, weights } = network;
        let from = self.feature.node;
        let mut tape = Tape::new();
        let mut twins = vec![None; model.tape.nodes().len()];
        twins[from.0] = Some(tape.input("feature", Spec::f32(model.tape.node(from).spec.map)));
        let mut logits = NodeId(0);
        for (index, node) in model.tape.nodes()[..=model.logits.0].iter().enumerate() {
            let Some(op) = node.op.as_ref().filter(|_| index > from.0) else { continue };
            let Some(inputs) = node.inputs.iter().map(|id| twins[id.0]).collect::<Option<Vec<_>>>()
            else {
                continue; // not behind the feature
            };
            let param = |id: &ParamId| model.tape.params()[id.0].name.as_str();
            let names: Vec<&str> = node.params.iter().map(param).collect();
            logits = tape.record_shared(&node.name, op.clone(), &inputs, Some(&names))?;
            twins[index] = Some(logits);
        }
        let tape = Arc::new(tape);
        let mut copies = Weights::new(&tape, &Device::cpu(), false)?;
        for param in tape.params() {
            let values = weights.get(weights.find(&param.name)?)?;
            copies.set(copies.find(&param.name)?, &values)?;
        }
        Ok((tape, copies, logits))
    }
}

/// The feature as a place; the baseline's is no layer's output, but what the last layer reads.
fn feature(model: &Model, read: NodeId) -> Layer {
    let node = match model.head {
        Head::Baseline | Head::TextGuided { normalized: false, .. } => read,
        Head::TextGuided { normalized: true, .. } => model.tape.node(read).inputs[0],
    };
    let layer = layers(model).into_iter().find(|layer| layer.node == node);
    layer.unwrap_or_else(|| of_node(model, node))
}

/// An image's fault-free values.
pub(super) struct Clean<'a> {
    pub golden: &'a Golden,
    /// The last layer's output, before the scale.
    pub last: Vec<f32>,
    /// What was asked for: what the last layer reads, or the feature.
    pub input: Vec<f32>,
}

/// Runs the images of `goldens` fault-free; `input` is the other value that is kept.
///
/// # Errors
/// What loading or running says; logits other than the goldens', or that aren't the last layer's output
/// times the scale.
pub(super) fn clean<'a>(
    experiment: &Experiment<'_>,
    tail: &Tail,
    goldens: &[&'a Golden],
    input: NodeId,
) -> Result<Vec<Clean<'a>>> {
    let Experiment { network, images, batch, .. } = experiment;
    let nodes = [network.model.logits, tail.last.node, input];
    let list: Vec<usize> = goldens.iter().map(|golden| golden.image).collect();
    let mut found: Vec<Clean<'a>> = Vec::with_capacity(goldens.len());
    forward_passes(network, *images, &list, *batch, &nodes, |execution, part, _| {
        let values =
            [execution.read(nodes[0])?, execution.read(nodes[1])?, execution.read(nodes[2])?];
        let first = found.len();
        for (index, golden) in goldens[first..][..part.len()].iter().enumerate() {
            let [logits, last, input] = values.each_ref().map(|values| {
                let width = values.len() / part.len();
                values[index * width..][..width].to_vec()
            });
            let clean = Clean { golden, last, input };
            check(tail, &clean, &logits)?;
            found.push(clean);
        }
        Ok(())
    })?;
    Ok(found)
}

fn check(tail: &Tail, clean: &Clean<'_>, logits: &[f32]) -> Result<()> {
    let image = clean.golden.image;
    if hash_logits(logits) != clean.golden.hash {
        return Err(Error::usage(format!(
            "image {image}: the golden run's logits differ from the evaluation's in bits: the answers \
             are of other weights, images or another device"
        )));
    }
    let scaled: Vec<f32> = clean.last.iter().map(|value| tail.logit(*value)).collect();
    if hash_logits(&scaled) != clean.golden.hash {
        return Err(Error::usage(format!(
            "image {image}: the logits aren't the bits of the last layer's output times {}",
            tail.factor
        )));
    }
    Ok(())
}
