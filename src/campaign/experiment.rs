//! A network on images, without faults: what campaigns and censuses start from.

use super::images::{Images, load_ahead};
use super::layers::Layer;
use super::ranges::{Ranges, greatest};
use crate::models::Network;
use crate::plan::Labels;
use crate::progress::Progress;
use crate::results::{FalseAlarms, Golden, Provenance, RangesOver, mean_top2diff};
use crate::tape::{Execution, NodeId, PlanKind};
use crate::{Error, Result, logits};

/// A network, images, and what the one makes of the others without any fault.
#[derive(Clone)]
pub struct Experiment<'a> {
    pub network: &'a Network,
    pub images: &'a dyn Images,
    /// The fault-free answers to the images that faults hit. To begin with, all that were evaluated: keep
    /// those that are right by `goldens.retain(Golden::is_eligible)`.
    pub goldens: Vec<Golden>,
    /// What the detector `range` clamps to; no other asks for it.
    pub ranges: Ranges,
    /// Where network and images come from, for the caller to fill in; how many images were evaluated and
    /// right is there already.
    pub provenance: Provenance,
    /// Batch size.
    pub batch: usize,
    /// By [`Experiment::fit_temperature`].
    pub fitted_temperature: Option<f64>,
    /// By [`Experiment::count_false_alarms`].
    pub false_alarms: Option<FalseAlarms>,
}

impl<'a> Experiment<'a> {
    /// Runs the images of `list` fault-free on the network's device, `batch` at a time. With
    /// [`Labels::Golden`] each answer is held against itself: its top-1 is the label, whatever the image's is.
    ///
    /// # Errors
    /// What loading or running says; a label that isn't a class of the model.
    pub fn evaluate(
        network: &'a Network,
        images: &'a dyn Images,
        list: &[usize],
        labels: Labels,
        batch: usize,
        progress: &dyn Progress,
    ) -> Result<Experiment<'a>> {
        let Network { model, .. } = network;
        let mut goldens = Vec::with_capacity(list.len());
        progress.begin("evaluate", "images", 0, list.len() as u64);
        forward_passes(network, images, list, batch, &[model.logits], |execution, part, given| {
            let found = execution.read(model.logits)?;
            for ((image, label), logits) in part.iter().zip(given).zip(found.chunks(model.classes))
            {
                let label = match labels {
                    Labels::Data => check_label(*image, *label, model.classes)?,
                    Labels::Golden => logits::argmax(logits) as u32,
                };
                goldens.push(Golden::new(*image, label, logits.to_vec()));
            }
            progress.advance(part.len() as u64, "");
            Ok(())
        })?;
        progress.end();
        let provenance = Provenance {
            evaluated: goldens.len(),
            right: goldens.iter().filter(|golden| golden.is_right()).count(),
            top2diff: mean_top2diff(&goldens),
            ..Provenance::default()
        };
        Ok(Experiment {
            network,
            images,
            goldens,
            ranges: Ranges::default(),
            provenance,
            batch,
            fitted_temperature: None,
            false_alarms: None,
        })
    }

    /// At most so many of the `goldens`, spread evenly over them.
    pub fn spread(&self, most: usize) -> Vec<&Golden> {
        let (all, most) = (self.goldens.len(), most.min(self.goldens.len()));
        (0..most).map(|i| &self.goldens[i * all / most]).collect()
    }

    /// Takes the ranges of `layers` over the images of `list` among `images`: training images, as a rule.
    ///
    /// # Errors
    /// What loading or running says.
    pub fn measure_ranges(
        &mut self,
        layers: &[Layer],
        images: &dyn Images,
        list: &[usize],
        progress: &dyn Progress,
    ) -> Result<()> {
        let nodes: Vec<NodeId> = layers.iter().map(|layer| layer.node).collect();
        let mut max = vec![0f32; layers.len()];
        progress.begin("ranges", "images", 0, list.len() as u64);
        forward_passes(self.network, images, list, self.batch, &nodes, |execution, part, _| {
            for (node, max) in nodes.iter().zip(&mut max) {
                *max = max.max(greatest(&execution.read(*node)?));
            }
            progress.advance(part.len() as u64, "");
            Ok(())
        })?;
        progress.end();
        let names = layers.iter().map(|layer| layer.name.clone());
        let over = RangesOver { images: list.len(), data: images.fingerprint() };
        self.ranges = Ranges { max: names.zip(max).collect(), over: Some(over) };
        Ok(())
    }
}

fn check_label(image: usize, label: u32, classes: usize) -> Result<u32> {
    if label as usize >= classes {
        return Err(Error::usage(format!(
            "image {image} has label {label}, but the model has {classes} classes"
        )));
    }
    Ok(label)
}

/// Runs the images of `list` forward, `batch` at a time. After each pass `hear` gets the execution, of which
/// it may read `nodes`, and the numbers and labels of the images.
pub(crate) fn forward_passes(
    network: &Network,
    images: &dyn Images,
    list: &[usize],
    batch: usize,
    nodes: &[NodeId],
    mut hear: impl FnMut(&Execution, &[usize], &[u32]) -> Result<()>,
) -> Result<()> {
    let capacity = batch.clamp(1, list.len().max(1));
    let mut execution = network.execution(PlanKind::Infer, capacity, nodes)?;
    execution.use_graphs(true);
    load_ahead(&network.model, images, list, capacity, |batches| {
        for (part, batch) in list.chunks(capacity).zip(batches) {
            let (pixels, labels) = batch?;
            network.forward(&mut execution, &pixels)?;
            hear(&execution, part, &labels)?;
        }
        Ok(())
    })
}
