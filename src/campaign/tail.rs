//! Trials that wait to be taken through the network's tail together (see [`Tape::tail_input`]): a pass over
//! many of them reads the weights of the last layers once.
//!
//! [`Tape::tail_input`]: crate::tape::Tape::tail_input

use std::collections::BTreeMap;

use super::setup::Campaign;
use super::trial::Trial;
use crate::Result;
use crate::fault::{FaultEntry, SiteClass};
use crate::tape::{Execution, NodeId};

/// The most trials of one pass.
const TRIALS: usize = 32;

/// Memory for a pass through the tail, and the trials that wait for it.
pub(super) struct TailBatch {
    execution: Execution,
    /// The value that the tail comes from.
    pub input: NodeId,
    /// That value, of each waiting trial.
    values: Vec<f32>,
    trials: usize,
    /// Faults in the tail itself, by node: the trial's number and the entry.
    faults: BTreeMap<NodeId, Vec<(usize, FaultEntry)>>,
}

impl TailBatch {
    /// `None` where the network has no tail.
    pub fn new(campaign: &Campaign<'_>) -> Result<Option<TailBatch>> {
        let network = campaign.experiment.network;
        let (tape, outputs) = (&network.model.tape, [network.model.logits]);
        let Some(input) = tape.tail_input(&outputs) else { return Ok(None) };
        let mut execution = Execution::behind(tape, network.device(), TRIALS, &outputs, input)?;
        execution.options.parallel = false;
        Ok(Some(TailBatch {
            execution,
            input,
            values: Vec::new(),
            trials: 0,
            faults: BTreeMap::new(),
        }))
    }

    /// Whether the next pass has room for so many trials more.
    pub fn has_room(&self, trials: usize) -> bool {
        self.trials + trials <= TRIALS
    }

    /// Whether a trial's faults lie in the tail, and are such that can be taken through it with others.
    pub fn takes(&self, campaign: &Campaign<'_>, trial: &Trial) -> bool {
        let layer = &campaign.layers()[trial.injection.layer];
        let is_output = layer.parameter.is_none() && trial.site.class() == SiteClass::Epilogue;
        is_output && layer.node > self.input
    }

    /// Adds a trial: the tail's input in its image, and what is to be hit in the tail itself. Its number
    /// in the next pass.
    pub fn add(&mut self, input: &[f32], node: NodeId, faults: &[FaultEntry]) -> usize {
        let number = self.trials;
        self.values.extend_from_slice(input);
        self.trials += 1;
        if !faults.is_empty() {
            let of_trial = faults.iter().map(|entry| (number, *entry));
            self.faults.entry(node).or_default().extend(of_trial);
        }
        number
    }

    /// Takes all that wait through the tail: their logits, one after another.
    pub fn run(&mut self, campaign: &Campaign<'_>) -> Result<Vec<f32>> {
        if self.trials == 0 {
            return Ok(Vec::new());
        }
        let TailBatch { execution, input, values, trials, faults } = self;
        execution.begin(std::mem::take(trials))?;
        execution.write(*input, values)?;
        values.clear();
        for (node, entries) in std::mem::take(faults) {
            let table = execution.table_of(node, &entries)?;
            execution.arm(node, table)?;
        }
        execution.forward(&campaign.experiment.network.weights)?;
        execution.disarm();
        execution.read(campaign.model().logits)
    }
}
