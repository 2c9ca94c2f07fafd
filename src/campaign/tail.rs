//! Shots that wait to be taken through the network's tail together (see [`Tape::tail_input`]): a pass over
//! many of them reads the weights of the last layers once.
//!
//! [`Tape::tail_input`]: crate::tape::Tape::tail_input

use std::collections::BTreeMap;

use super::setup::Campaign;
use super::trial::Shot;
use crate::Result;
use crate::fault::{FaultEntry, SiteClass};
use crate::tape::{Execution, NodeId};

/// Shots of one pass.
const SHOTS: usize = 32;

/// Memory for a pass through the tail, and the shots that wait for it.
pub(super) struct Tail {
    execution: Execution,
    /// The value that the tail comes from.
    pub input: NodeId,
    /// It, of each waiting shot.
    values: Vec<f32>,
    shots: usize,
    /// Faults in the tail itself, by node: the shot's number and the entry.
    faults: BTreeMap<NodeId, Vec<(usize, FaultEntry)>>,
}

impl Tail {
    /// `None` where the network has no tail.
    pub fn new(campaign: &Campaign<'_>) -> Result<Option<Tail>> {
        let network = campaign.experiment.network;
        let (tape, outputs) = (&network.model.tape, [network.model.logits]);
        let Some(input) = tape.tail_input(&outputs) else { return Ok(None) };
        let mut execution = Execution::behind(tape, network.device(), SHOTS, &outputs, input)?;
        execution.parallel = false;
        Ok(Some(Tail { execution, input, values: Vec::new(), shots: 0, faults: BTreeMap::new() }))
    }

    /// Whether the next pass has room for so many shots more.
    pub fn has_room(&self, shots: usize) -> bool {
        self.shots + shots <= SHOTS
    }

    /// Whether a shot's faults lie in the tail, and are such that can be taken through it with others.
    pub fn takes(&self, campaign: &Campaign<'_>, shot: &Shot) -> bool {
        let layer = &campaign.layers()[shot.job.layer];
        let is_output = layer.parameter.is_none() && shot.site.class() == SiteClass::Epilogue;
        is_output && layer.node > self.input
    }

    /// Adds a shot: the tail's input in its image, and what is to be hit in the tail itself. Its number
    /// in the next pass.
    pub fn add(&mut self, input: &[f32], node: NodeId, faults: &[FaultEntry]) -> usize {
        let number = self.shots;
        self.values.extend_from_slice(input);
        self.shots += 1;
        if !faults.is_empty() {
            let of_shot = faults.iter().map(|entry| (number, *entry));
            self.faults.entry(node).or_default().extend(of_shot);
        }
        number
    }

    /// Takes all that wait through the tail: their logits, one after another.
    pub fn run(&mut self, campaign: &Campaign<'_>) -> Result<Vec<f32>> {
        if self.shots == 0 {
            return Ok(Vec::new());
        }
        let Tail { execution, input, values, shots, faults } = self;
        execution.begin(std::mem::take(shots))?;
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
