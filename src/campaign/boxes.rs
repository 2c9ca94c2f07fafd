//! Injections on the CPU: one image at a time, replaying boxes, images side by side on threads.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::outcome::Effect;
use super::record::{Record, Shot};
use super::run::{Campaign, Listener, Task};
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

    /// Runs the tasks in parallel.
    pub fn run(&self, tasks: Vec<Task>, listener: &Listener<'_>) -> Result<()> {
        tasks.into_par_iter().with_max_len(1).try_for_each(|task| {
            if listener.is_stopped() {
                return Ok(());
            }
            let idle = self.idle().pop();
            let mut worker = match idle {
                Some(worker) => worker,
                None => self.worker()?,
            };
            self.run_task(&mut worker, &task, listener)?;
            self.idle().push(worker);
            Ok(())
        })
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
        execution.keep_patches = true;
        let pixels = vec![0f32; model.tape.node(model.image).spec.map.elements()];
        Ok(Worker { execution, undo: Undo::default(), pixels })
    }

    fn run_task(&self, worker: &mut Worker, task: &Task, listener: &Listener<'_>) -> Result<()> {
        let campaign = self.campaign;
        let Campaign { model, weights, images, goldens, .. } = campaign;
        let Worker { execution, undo, pixels } = worker;
        let detectors = &campaign.plan().detectors;
        let golden = &goldens[task.image];
        images.load(golden.image, pixels)?;
        execution.begin(1)?;
        execution.write(model.image, pixels)?;
        execution.forward(weights)?;
        campaign.check_golden(task.image, execution.image_values(model.logits, 0))?;

        let mut records: Vec<Record> = Vec::new();
        for job in &task.jobs {
            if listener.is_stopped() {
                break;
            }
            let layer = &campaign.layers()[job.layer];
            let fault = campaign.fault(*job)?;
            let hit = campaign.hit_node(layer, fault.site);
            let values = hit.map(|node| execution.image_values(node, 0));
            let shots = Shot::of(*job, &fault, campaign.max(job.layer), detectors, |entry| {
                campaign.golden_bits(layer, hit, entry, values)
            });
            for shot in shots {
                let effect = if shot.entries.is_empty() {
                    Effect::unchanged(golden)
                } else {
                    campaign.arm(execution, layer, &[(0, &shot)])?;
                    let outputs = [model.logits];
                    let replay = execution.replay_image(weights, layer.node, 0, &outputs, undo)?;
                    let effect = if replay.reached_output {
                        campaign.effect(golden, execution.image_values(model.logits, 0))
                    } else {
                        Effect::unchanged(golden)
                    };
                    execution.restore(undo);
                    execution.disarm();
                    effect
                };
                shot.records(detectors, golden.image, golden.judged, effect, &mut records);
            }
            listener.hear(1, &mut records, false)?;
        }
        listener.hear(0, &mut records, true)
    }
}
