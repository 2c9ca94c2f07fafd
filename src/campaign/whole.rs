//! Injections on any device: batches of images, each with a fault of its own, replayed by whole
//! nodes. Layers come in descending order, so that a replay finds golden values before it.

use super::experiment::Experiment;
use super::images::load_batch;
use super::setup::Campaign;
use super::tasks::{ImageTask, Listener};
use super::trial::{InjectionId, Trial};
use crate::Result;
use crate::models::Network;
use crate::results::Record;
use crate::tape::{Execution, PlanKind};

/// Runs the tasks (one an image), `batch` images at a time.
pub(super) fn run(
    campaign: &Campaign<'_>,
    tasks: Vec<ImageTask>,
    batch: usize,
    listener: &Listener<'_>,
) -> Result<()> {
    let network = campaign.experiment.network;
    let capacity = campaign.capacity(batch).min(tasks.len().max(1));
    let outputs = [network.model.logits];
    let mut execution = network.execution(PlanKind::Golden, capacity, &outputs)?;
    execution.use_graphs(campaign.graphs);
    execution.options.keep_patches = true;
    for tasks in tasks.chunks(capacity) {
        run_batch(campaign, &mut execution, tasks, listener)?;
    }
    Ok(())
}

fn run_batch(
    campaign: &Campaign<'_>,
    execution: &mut Execution,
    tasks: &[ImageTask],
    listener: &Listener<'_>,
) -> Result<()> {
    if listener.is_stopped() {
        return Ok(());
    }
    let Experiment { network, images, goldens, .. } = campaign.experiment;
    let model = &network.model;
    let list: Vec<usize> = tasks.iter().map(|task| goldens[task.image].image).collect();
    let (pixels, _) = load_batch(model, *images, &list)?;
    network.forward(execution, &pixels)?;
    let logits = execution.read(model.logits)?;
    for (task, logits) in tasks.iter().zip(logits.chunks(model.classes)) {
        campaign.check_golden(task.image, logits)?;
    }

    let mut order: Vec<usize> = (0..campaign.layers().len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(campaign.layers()[*index].node));
    let mut records = Vec::new();
    for index in order {
        if listener.is_stopped() {
            break;
        }
        run_layer(campaign, execution, tasks, index, &mut records)?;
        let of_layer = |task: &ImageTask| {
            task.injections.iter().filter(|injection| injection.layer == index).count()
        };
        let done: usize = tasks.iter().map(of_layer).sum();
        listener.hear(done, &mut records, false)?;
    }
    listener.hear(0, &mut records, true)
}

/// The injections of one layer: round r runs trial r of every image that has one.
fn run_layer(
    campaign: &Campaign<'_>,
    execution: &mut Execution,
    tasks: &[ImageTask],
    index: usize,
    records: &mut Vec<Record>,
) -> Result<()> {
    let Experiment { network: Network { model, weights }, goldens, .. } = campaign.experiment;
    let layer = &campaign.layers()[index];
    let detectors = &campaign.plan().detectors;
    let injections = |task: &ImageTask| -> Vec<InjectionId> {
        task.injections.iter().filter(|injection| injection.layer == index).copied().collect()
    };
    let injections: Vec<Vec<InjectionId>> = tasks.iter().map(injections).collect();
    if injections.iter().all(Vec::is_empty) {
        return Ok(());
    }
    // A node's values are read once a batch; a list may name several sites of a layer.
    let mut known: Vec<(crate::tape::NodeId, Vec<f32>)> = Vec::new();
    let mut trials: Vec<Vec<Trial>> = Vec::with_capacity(tasks.len());
    for (slot, injections) in injections.iter().enumerate() {
        let mut of_image = Vec::new();
        for injection in injections {
            let fault = campaign.fault(*injection)?;
            let hit = campaign.hit_node(layer, fault.site);
            if let Some(node) = hit.filter(|node| known.iter().all(|(id, _)| id != node)) {
                known.push((node, execution.read(node)?));
            }
            let values = known.iter().find(|(id, _)| Some(*id) == hit).map(|(id, values)| {
                let spec = model.tape.node(*id).spec;
                let elements = spec.map.elements();
                let image = if spec.shared { 0 } else { slot };
                &values[image * elements..][..elements]
            });
            let max = campaign.max(index);
            of_image.extend(Trial::of(*injection, &fault, max, detectors, |entry| {
                campaign.golden_bits(layer, hit, entry, values)
            }));
        }
        trials.push(of_image);
    }
    let mut record = |slot: usize, trial: &Trial, logits: Option<&[f32]>| {
        let golden = &goldens[tasks[slot].image];
        let effect = match logits {
            Some(logits) => campaign.effect(golden, logits),
            None => campaign.unchanged(golden),
        };
        trial.records(detectors, golden.image, golden.score, effect, records);
    };
    for (slot, trials) in trials.iter_mut().enumerate() {
        for trial in trials.extract_if(.., |trial| trial.entries.is_empty()) {
            record(slot, &trial, None);
        }
    }
    for round in 0..trials.iter().map(Vec::len).max().unwrap_or(0) {
        let of_round: Vec<(usize, &Trial)> = (trials.iter().enumerate())
            .filter_map(|(slot, trials)| Some((slot, trials.get(round)?)))
            .collect();
        campaign.arm(execution, layer, &of_round)?;
        execution.replay_from(weights, layer.node)?;
        execution.disarm();
        let logits = execution.read(model.logits)?;
        for (slot, trial) in of_round {
            record(slot, trial, Some(&logits[slot * model.classes..][..model.classes]));
        }
    }
    Ok(())
}
