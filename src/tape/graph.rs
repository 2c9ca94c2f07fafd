//! Passes as graphs: on devices that launch kernels, the forward pass and the replay from a node are
//! captured once and then replayed, with fault tables updated in place between the replays.

use std::collections::HashMap;

use super::{Execution, NodeId, Weights};
use crate::Result;
use crate::device::{Buffer, Graph};
use crate::fault::FaultTable;

/// A pass in eval mode over whole nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pass {
    /// Every node that the outputs need.
    Forward,
    /// This node and every one that depends on it.
    From(NodeId),
}

/// The graphs of an execution, and the memory of its fault tables, whose addresses they hold.
#[derive(Default)]
pub(super) struct Graphs {
    enabled: bool,
    captured: HashMap<Pass, Captured>,
    /// By node.
    fault_memory: HashMap<usize, Buffer>,
}

struct Captured {
    graph: Graph,
    frozen: Frozen,
}

/// What a graph's launches hold besides the addresses of the execution's own memory. The number of
/// images isn't among it: kernels read it from device memory, their grids follow from the capacity.
#[derive(PartialEq, Eq)]
struct Frozen {
    /// Where the parameters lie.
    weights: u64,
    /// Armed nodes, in order, and the addresses of their tables.
    armed: Vec<(usize, u64)>,
}

impl Execution {
    /// Whether forward passes in eval mode and [`Execution::replay_from`] are captured on their first
    /// run and replayed as graphs from then on; off at first. A table that outgrows its node's memory,
    /// other armed nodes and other weights have the pass captured again. Without effect on the CPU, in
    /// training, and while clocks run.
    pub fn use_graphs(&mut self, enabled: bool) {
        self.graphs.enabled = enabled;
        if !enabled {
            self.graphs.captured.clear();
        }
    }

    /// Runs a pass, as a graph where that is asked for.
    pub(super) fn pass(&mut self, weights: &Weights, pass: Pass) -> Result<()> {
        let as_graph = self.graphs.enabled
            && !self.device.is_cpu()
            && self.clocks.is_none()
            && self.state.training == 0
            && self.state.images > 0;
        if !as_graph {
            return self.launch_pass(weights, pass);
        }
        let frozen = self.frozen(weights);
        let kept = self.graphs.captured.remove(&pass).filter(|kept| kept.frozen == frozen);
        let mut captured = match kept {
            Some(captured) => captured,
            None => {
                let graph = self.device.capture(|| self.launch_pass(weights, pass))?;
                Captured { graph, frozen }
            }
        };
        let replayed = captured.graph.replay();
        self.graphs.captured.insert(pass, captured);
        replayed
    }

    fn launch_pass(&self, weights: &Weights, pass: Pass) -> Result<()> {
        let runs = match pass {
            Pass::Forward => vec![true; self.tape.nodes().len()],
            Pass::From(node) => self.dependents(node),
        };
        for index in (0..runs.len()).filter(|index| runs[*index] && self.needed[*index]) {
            if self.lowering.keeps(index) {
                self.run(weights, NodeId(index), self.whole(NodeId(index)))?;
            }
        }
        Ok(())
    }

    fn frozen(&self, weights: &Weights) -> Frozen {
        let mut armed: Vec<(usize, u64)> =
            self.armed.iter().map(|(node, armed)| (*node, armed.address)).collect();
        armed.sort_unstable();
        Frozen { weights: weights.address(), armed }
    }

    /// Puts a table into its node's memory, which has room for a fault in each image from the start
    /// and is allocated anew only for a table that outgrows it; the address. 0 on the CPU.
    pub(super) fn place_faults(&mut self, id: NodeId, table: &FaultTable) -> Result<u64> {
        if self.device.is_cpu() {
            return Ok(0);
        }
        let bytes = table.to_bytes();
        let memory = &mut self.graphs.fault_memory;
        if memory.get(&id.0).is_none_or(|buffer| buffer.bytes() < bytes.len()) {
            let room = FaultTable::byte_len(self.capacity, self.capacity).max(bytes.len());
            memory.insert(id.0, self.device.alloc(room)?);
        }
        let Some(buffer) = memory.get_mut(&id.0) else { return Ok(0) };
        buffer.write(0, &bytes)?;
        Ok(buffer.address())
    }
}
