//! Injections on any device: batches of images, each with a fault of its own, replayed by whole
//! nodes. Layers come in descending order, so that a replay finds golden values before it.

use super::experiment::Experiment;
use super::images::load_batch;
use super::setup::Campaign;
use super::tasks::{Listener, Task};
use super::trial::{Job, Shot};
use crate::Result;
use crate::models::Network;
use crate::results::{Effect, Record};
use crate::tape::{Execution, PlanKind};

/// Runs the tasks (one an image), `batch` images at a time.
pub(super) fn run(
    campaign: &Campaign<'_>,
    tasks: Vec<Task>,
    batch: usize,
    listener: &Listener<'_>,
) -> Result<()> {
    let network = campaign.experiment.network;
    let capacity = campaign.capacity(batch).min(tasks.len().max(1));
    let outputs = [network.model.logits];
    let mut execution = network.execution(PlanKind::Golden, capacity, &outputs)?;
    execution.use_graphs(campaign.graphs);
    execution.keep_patches = true;
    for tasks in tasks.chunks(capacity) {
        run_batch(campaign, &mut execution, tasks, listener)?;
    }
    Ok(())
}

fn run_batch(
    campaign: &Campaign<'_>,
    execution: &mut Execution,
    tasks: &[Task],
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
        let of_layer = |task: &Task| task.jobs.iter().filter(|job| job.layer == index).count();
        let done: usize = tasks.iter().map(of_layer).sum();
        listener.hear(done, &mut records, false)?;
    }
    listener.hear(0, &mut records, true)
}

/// The injections of one layer: round r runs shot r of every image that has one.
fn run_layer(
    campaign: &Campaign<'_>,
    execution: &mut Execution,
    tasks: &[Task],
    index: usize,
    records: &mut Vec<Record>,
) -> Result<()> {
    let Experiment { network: Network { model, weights }, goldens, .. } = campaign.experiment;
    let layer = &campaign.layers()[index];
    let detectors = &campaign.plan().detectors;
    let jobs = |task: &Task| -> Vec<Job> {
        task.jobs.iter().filter(|job| job.layer == index).copied().collect()
    };
    let jobs: Vec<Vec<Job>> = tasks.iter().map(jobs).collect();
    if jobs.iter().all(Vec::is_empty) {
        return Ok(());
    }
    // A node's values are read once a batch; a list may name several sites of a layer.
    let mut known: Vec<(crate::tape::NodeId, Vec<f32>)> = Vec::new();
    let mut shots: Vec<Vec<Shot>> = Vec::with_capacity(tasks.len());
    for (slot, jobs) in jobs.iter().enumerate() {
        let mut of_image = Vec::new();
        for job in jobs {
            let fault = campaign.fault(*job)?;
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
            of_image.extend(Shot::of(*job, &fault, max, detectors, |entry| {
                campaign.golden_bits(layer, hit, entry, values)
            }));
        }
        shots.push(of_image);
    }
    let mut record = |slot: usize, shot: &Shot, logits: Option<&[f32]>| {
        let golden = &goldens[tasks[slot].image];
        let effect = match logits {
            Some(logits) => campaign.effect(golden, logits),
            None => Effect::unchanged(golden),
        };
        shot.records(detectors, golden.image, golden.score, effect, records);
    };
    for (slot, shots) in shots.iter_mut().enumerate() {
        for shot in shots.extract_if(.., |shot| shot.entries.is_empty()) {
            record(slot, &shot, None);
        }
    }
    for round in 0..shots.iter().map(Vec::len).max().unwrap_or(0) {
        let of_round: Vec<(usize, &Shot)> = (shots.iter().enumerate())
            .filter_map(|(slot, shots)| Some((slot, shots.get(round)?)))
            .collect();
        campaign.arm(execution, layer, &of_round)?;
        execution.replay_from(weights, layer.node)?;
        execution.disarm();
        let logits = execution.read(model.logits)?;
        for (slot, shot) in of_round {
            record(slot, shot, Some(&logits[slot * model.classes..][..model.classes]));
        }
    }
    Ok(())
}
