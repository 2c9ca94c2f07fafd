//! Passes as graphs: on devices that launch kernels, the forward pass and the replay from a node are
//! captured once and then replayed, with fault tables updated in place between the replays.

use std::collections::HashMap;

use super::armed::{FrozenFaults, PatchAddress};
use super::{Execution, NodeId, Weights};
use crate::Result;
use crate::device::Graph;
use crate::number::Compute;
use crate::ops::memory_fault::Pass;

/// A pass in eval mode over whole nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sweep {
    /// Every node that the outputs need.
    Forward,
    /// This node and every one that what is armed there can change.
    From(NodeId),
}

/// The graphs of an execution.
#[derive(Default)]
pub(super) struct Graphs {
    enabled: bool,
    captured: HashMap<Sweep, Captured>,
}

struct Captured {
    graph: Graph,
    frozen: Frozen,
}

/// What a graph's launches hold besides the addresses of the execution's own values. The number of
/// images isn't among it: kernels read it from device memory, their grids follow from the capacity.
#[derive(PartialEq, Eq)]
struct Frozen {
    /// Where the parameters lie.
    weights: u64,
    /// How layers multiply: other kernels each.
    compute: Compute,
    /// Of armed nodes, in order.
    armed: Vec<(usize, FrozenFaults)>,
    /// Which images see which copies of parameters, and where those lie.
    patches: Vec<PatchAddress>,
    /// Where there are any: images that see copies are run one by one.
    images: Option<usize>,
}

impl Execution {
    /// Whether forward passes in eval mode and [`Execution::replay_from`] are captured on their first
    /// run and replayed as graphs from then on; off at first. A table that outgrows its node's memory or
    /// has faults of other classes, other armed nodes, other images that see parameters of their own and other weights
    /// have the pass captured again. Without effect on the CPU, in training, while clocks run, and where images see
    /// parameters of their own that aren't kept for the next fault, or beside other faults.
    pub fn use_graphs(&mut self, enabled: bool) {
        self.graphs.enabled = enabled;
        if !enabled {
            self.graphs.captured.clear();
        }
    }

    /// Runs a pass, as a graph where that is asked for.
    pub(super) fn sweep(&mut self, weights: &Weights, sweep: Sweep) -> Result<()> {
        let as_graph = self.graphs.enabled
            && !self.device.is_cpu()
            && self.clocks.is_none()
            && self.can_freeze_patches()
            && !self.batch.is_training()
            && self.images() > 0;
        if !as_graph {
            return self.launch_sweep(weights, sweep);
        }
        let frozen = self.frozen(weights);
        let kept = self.graphs.captured.remove(&sweep).filter(|kept| kept.frozen == frozen);
        let mut captured = match kept {
            Some(captured) => captured,
            None => {
                let graph = self.device.capture(|| self.launch_sweep(weights, sweep))?;
                Captured { graph, frozen }
            }
        };
        let replayed = captured.graph.replay();
        self.graphs.captured.insert(sweep, captured);
        replayed
    }

    fn launch_sweep(&self, weights: &Weights, sweep: Sweep) -> Result<()> {
        let runs = match sweep {
            Sweep::Forward => vec![true; self.tape.nodes().len()],
            Sweep::From(node) => self.dependents(node),
        };
        for index in (0..runs.len()).filter(|index| runs[*index]) {
            self.run_whole(weights, NodeId(index))?;
        }
        // Later nodes have read what was hit; kept values are to be golden. The last hit goes first.
        let mut hit = self.armed.nodes().rev().filter(|(index, _)| runs[*index]);
        hit.try_for_each(|(index, _)| self.fault_input(NodeId(index), Pass::Undo))
    }

    /// Whether what images see of parameters can be part of a graph: copies stay where they are, and no node's faults
    /// are put into memory of their own for an image alone.
    fn can_freeze_patches(&self) -> bool {
        !self.armed.has_patches()
            || self.options.keep_patches && self.armed.nodes().next().is_none()
    }

    fn frozen(&self, weights: &Weights) -> Frozen {
        Frozen {
            weights: weights.address(),
            compute: self.device.compute(),
            armed: self.armed.nodes().map(|(index, faults)| (index, faults.frozen())).collect(),
            patches: self.armed.frozen_patches(),
            images: self.armed.has_patches().then(|| self.images()),
        }
    }
}
