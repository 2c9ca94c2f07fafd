//! Injections on any device: batches of images, each with a fault of its own, replayed by whole
//! nodes. Layers come in descending order, so that a replay finds golden values before it.

use super::outcome::Effect;
use super::record::{Job, Record, Shot};
use super::run::{Campaign, Task};
use crate::Result;
use crate::fault::{FaultEntry, FaultTable};
use crate::tape::{Execution, PlanKind};

/// Runs the tasks (one an image), `batch` images at a time.
pub(super) fn run(
    campaign: &Campaign<'_>,
    tasks: Vec<Task>,
    batch: usize,
    advance: &(dyn Fn(usize) + Sync),
) -> Result<Vec<Record>> {
    let Campaign { model, weights, .. } = campaign;
    let capacity = batch.clamp(1, tasks.len().max(1));
    let outputs = [model.logits];
    let mut execution =
        Execution::new(&model.tape, weights.device(), PlanKind::Golden, capacity, &outputs)?;
    execution.use_graphs(campaign.graphs);
    let mut records = Vec::new();
    for tasks in tasks.chunks(capacity) {
        run_batch(campaign, &mut execution, tasks, advance, &mut records)?;
    }
    Ok(records)
}

fn run_batch(
    campaign: &Campaign<'_>,
    execution: &mut Execution,
    tasks: &[Task],
    advance: &(dyn Fn(usize) + Sync),
    records: &mut Vec<Record>,
) -> Result<()> {
    let Campaign { model, weights, images, goldens, .. } = campaign;
    let elements = model.tape.node(model.image).spec.map.elements();
    let mut pixels = vec![0f32; tasks.len() * elements];
    for (task, pixels) in tasks.iter().zip(pixels.chunks_mut(elements)) {
        images.load(goldens[task.image].image, pixels)?;
    }
    execution.begin(tasks.len())?;
    execution.write(model.image, &pixels)?;
    execution.forward(weights)?;
    let logits = execution.read(model.logits)?;
    for (task, logits) in tasks.iter().zip(logits.chunks(model.classes)) {
        campaign.check_golden(task.image, logits)?;
    }

    let mut order: Vec<usize> = (0..campaign.layers().len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(campaign.layers()[*index].node));
    for index in order {
        run_layer(campaign, execution, tasks, index, records)?;
        let of_layer = |task: &Task| task.jobs.iter().filter(|job| job.layer == index).count();
        advance(tasks.iter().map(of_layer).sum());
    }
    Ok(())
}

/// The injections of one layer: round r runs shot r of every image that has one.
fn run_layer(
    campaign: &Campaign<'_>,
    execution: &mut Execution,
    tasks: &[Task],
    index: usize,
    records: &mut Vec<Record>,
) -> Result<()> {
    let Campaign { model, weights, goldens, .. } = campaign;
    let layer = &campaign.layers()[index];
    let detectors = &campaign.plan().detectors;
    let jobs = |task: &Task| -> Vec<Job> {
        task.jobs.iter().filter(|job| job.layer == index).copied().collect()
    };
    let jobs: Vec<Vec<Job>> = tasks.iter().map(jobs).collect();
    if jobs.iter().all(Vec::is_empty) {
        return Ok(());
    }
    let values = execution.read(layer.node)?;
    let mut shots: Vec<Vec<Shot>> = Vec::with_capacity(tasks.len());
    for (jobs, values) in jobs.iter().zip(values.chunks(layer.map.elements())) {
        let mut of_image = Vec::new();
        for job in jobs {
            let fault = job.fault;
            let at = layer.map.index(fault.row, fault.column, fault.channel);
            of_image.extend(Shot::of(*job, values[at].to_bits(), campaign.max(index), detectors));
        }
        shots.push(of_image);
    }
    for round in 0..shots.iter().map(Vec::len).max().unwrap_or(0) {
        let mut entries = Vec::with_capacity(tasks.len());
        for (slot, shots) in shots.iter().enumerate() {
            if let Some(shot) = shots.get(round) {
                let fault = shot.job.fault;
                let element = layer.map.pytorch_index(fault.channel, fault.row, fault.column);
                entries.push((slot, FaultEntry::output(element, shot.masks(), 0)));
            }
        }
        let table = FaultTable::new(&layer.name, tasks.len(), layer.map, &entries)?;
        execution.arm(layer.node, table)?;
        execution.replay_from(weights, layer.node)?;
        execution.disarm();
        let logits = execution.read(model.logits)?;
        for (slot, logits) in logits.chunks(model.classes).enumerate() {
            if let Some(shot) = shots[slot].get(round) {
                let golden = &goldens[tasks[slot].image];
                let effect = Effect::of(golden, logits);
                shot.records(detectors, golden.image, golden.judged, effect, records);
            }
        }
    }
    Ok(())
}
