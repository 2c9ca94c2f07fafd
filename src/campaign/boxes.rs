//! Injections on the CPU: one image at a time, replaying boxes, images side by side on threads.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::outcome::Effect;
use super::record::{Record, Shot};
use super::run::{Campaign, Task};
use crate::fault::{FaultEntry, FaultTable};
use crate::tape::{Execution, PlanKind, Undo};
use crate::{Error, Result};

/// Executions that tasks borrow. A list and no thread-locals: a thread that waits inside rayon may
/// take up another task, which then needs an execution of its own.
pub(super) struct Pool<'c, 'a> {
    campaign: &'c Campaign<'a>,
    idle: Mutex<Vec<Worker>>,
}

/// Memory for one image's golden run and its replays.
struct Worker {
    execution: Execution,
    undo: Undo,
    pixels: Vec<f32>,
}

impl<'c, 'a> Pool<'c, 'a> {
    /// An empty pool; it grows to the number of threads.
    pub fn new(campaign: &'c Campaign<'a>) -> Self {
        Pool { campaign, idle: Mutex::default() }
    }

    /// Runs the tasks in parallel; `advance` hears of each one's injections.
    pub fn run(&self, tasks: Vec<Task>, advance: &(dyn Fn(usize) + Sync)) -> Result<Vec<Record>> {
        let parts: Result<Vec<Vec<Record>>> = tasks
            .into_par_iter()
            .with_max_len(1)
            .map(|task| {
                let idle = self.idle().pop();
                let mut worker = match idle {
                    Some(worker) => worker,
                    None => self.worker()?,
                };
                let records = self.run_task(&mut worker, &task)?;
                self.idle().push(worker);
                advance(task.jobs.len());
                Ok(records)
            })
            .collect();
        Ok(parts?.concat())
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Worker>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn worker(&self) -> Result<Worker> {
        let Campaign { model, weights, .. } = self.campaign;
        let (device, outputs) = (weights.device(), [model.logits]);
        if !device.is_cpu() {
            return Err(Error::Unsupported {
                op: "a campaign by boxes".into(),
                device: device.kind().to_string(),
            });
        }
        let mut execution = Execution::new(&model.tape, device, PlanKind::Golden, 1, &outputs)?;
        execution.parallel = false;
        let pixels = vec![0f32; model.tape.node(model.image).spec.map.elements()];
        Ok(Worker { execution, undo: Undo::default(), pixels })
    }

    fn run_task(&self, worker: &mut Worker, task: &Task) -> Result<Vec<Record>> {
        let Campaign { model, weights, images, goldens, .. } = self.campaign;
        let Worker { execution, undo, pixels } = worker;
        let detectors = &self.campaign.plan().detectors;
        let golden = &goldens[task.image];
        images.load(golden.image, pixels)?;
        execution.begin(1)?;
        execution.write(model.image, pixels)?;
        execution.forward(weights)?;
        self.campaign.check_golden(task.image, execution.image_values(model.logits, 0))?;

        let mut records = Vec::with_capacity(task.jobs.len() * detectors.len());
        for job in &task.jobs {
            let layer = &self.campaign.layers()[job.layer];
            let fault = job.fault;
            let at = layer.map.index(fault.row, fault.column, fault.channel);
            let before = execution.image_values(layer.node, 0)[at].to_bits();
            for shot in Shot::of(*job, before, self.campaign.max(job.layer), detectors) {
                let element = layer.map.pytorch_index(fault.channel, fault.row, fault.column);
                let entry = FaultEntry::output(element, shot.masks(), 0);
                let table = FaultTable::new(&layer.name, 1, layer.map, &[(0, entry)])?;
                execution.arm(layer.node, table)?;
                let replay =
                    execution.replay_image(weights, layer.node, 0, &[model.logits], undo)?;
                let effect = if replay.reached_output {
                    Effect::of(golden, execution.image_values(model.logits, 0))
                } else {
                    Effect::unchanged(golden)
                };
                execution.restore(undo);
                execution.disarm();
                shot.records(detectors, golden.image, golden.judged, effect, &mut records);
            }
        }
        Ok(records)
    }
}
