//! The tail of a tape: the nodes at its end whose values are vectors, behind one value that they all come
//! from. Faults that reach that value differ in it alone, so that many of them are taken through the tail
//! as one batch: the weights of its layers, which can be most of a network's, are read once for all.

use std::sync::Arc;

use super::{Execution, NodeId, PlanKind, Tape};
use crate::device::Device;
use crate::{Error, Result};

impl Tape {
    /// The value that the tail comes from: every node behind it that `outputs` need has a vector for a
    /// value and reads nothing else from before. `None` where there is no such value.
    pub fn tail_input(&self, outputs: &[NodeId]) -> Option<NodeId> {
        let needed = self.needed_for(outputs);
        let mut found = None;
        let mut inputs: Vec<usize> = Vec::new();
        for index in (0..needed.len()).rev().filter(|index| needed[*index]) {
            let node = &self.nodes()[index];
            let is_vector = node.spec.map.pixels() == 1 && !node.spec.shared;
            if node.op.is_none() || !is_vector {
                break;
            }
            inputs.retain(|input| *input != index);
            inputs.extend(node.inputs.iter().map(|input| input.0));
            inputs.sort_unstable();
            inputs.dedup();
            if let [input] = inputs[..]
                && input < index
                && self.nodes()[input].op.is_some()
                && !self.nodes()[input].spec.shared
            {
                found = Some(NodeId(input));
            }
        }
        found
    }
}

impl Execution {
    /// Memory on `device` for the nodes behind `input` that `outputs` need, up to `capacity` images at a
    /// time: [`Execution::write`] gives the value of `input`, [`Execution::forward`] runs what is behind it.
    ///
    /// # Errors
    /// As [`Execution::new`]; [`Error::Usage`] where a node behind `input` reads another value from before.
    pub fn behind(
        tape: &Arc<Tape>,
        device: &Device,
        capacity: usize,
        outputs: &[NodeId],
        input: NodeId,
    ) -> Result<Execution> {
        let mut needed = tape.needed_for(outputs);
        needed[..=input.0].fill(false);
        let reads = |id: &NodeId| *id == input || needed[id.0];
        let nodes = tape.nodes().iter().zip(&needed).filter(|(_, needed)| **needed);
        if let Some((node, _)) = nodes.into_iter().find(|(node, _)| !node.inputs.iter().all(reads))
        {
            let (name, input) = (&node.name, &tape.node(input).name);
            return Err(Error::usage(format!("'{name}' reads more than '{input}' from before it")));
        }
        let kind = PlanKind::Infer;
        Execution::of_nodes(tape, device, kind, capacity, outputs, needed, Some(input))
    }
}
