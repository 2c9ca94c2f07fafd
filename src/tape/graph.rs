//! Passes as graphs: on devices that launch kernels, forward and backward passes and the replay from a node are
//! captured once and then replayed. Whatever changes between replays lies in device memory: the batch and its state,
//! fault tables, what backward starts from.

use std::collections::HashMap;

use super::armed::{FrozenFaults, PatchAddress};
use super::{Execution, NodeId, ParamId, Weights};
use crate::Result;
use crate::device::Graph;
use crate::number::Compute;
use crate::ops::memory_fault::Pass;

/// A pass over whole nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sweep {
    /// Every node that the outputs need, in either mode.
    Forward,
    /// This node and every one that what is armed there can change.
    From(NodeId),
    /// From an output's gradient to those of all parameters, which are accumulated if `adds`.
    Backward { output: NodeId, adds: bool },
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
    /// Parameters whose gradients are complete after it.
    finals: Vec<ParamId>,
}

/// What a graph's launches hold besides the addresses of the execution's own values. The number of
/// images isn't among it: kernels read it from device memory, their grids follow from the capacity.
#[derive(PartialEq, Eq)]
struct Frozen {
    /// Where parameters and their gradients lie.
    weights: [u64; 2],
    /// Training launches other kernels than eval mode.
    is_training: bool,
    /// Each compute mode has kernels of its own.
    compute: Compute,
    /// Of armed nodes, in order.
    armed: Vec<(usize, FrozenFaults)>,
    /// Which images see which copies of parameters, and where those lie.
    patches: Vec<PatchAddress>,
    /// The number of images where some see copies: all are then run one by one.
    images: Option<usize>,
}

impl Execution {
    /// Whether forward passes, [`Execution::replay_from`] and [`Execution::backward`] are captured on their first
    /// run and replayed as graphs from then on; off at first. A table that outgrows its node's memory or
    /// has faults of other classes, other armed nodes, other images that see parameters of their own, other weights and
    /// the other mode have the pass captured again. Without effect on the CPU, while clocks run, where images see
    /// parameters of their own that aren't kept for the next fault, or beside other faults, and where bits flip in
    /// training, at other places in each batch.
    pub fn use_graphs(&mut self, enabled: bool) {
        self.graphs.enabled = enabled;
        if !enabled {
            self.graphs.captured.clear();
        }
    }

    /// Runs a pass, as a graph where that is asked for. `on_final` is called for each parameter whose gradient is
    /// complete; with a graph, once all of it is queued.
    pub(super) fn sweep(
        &mut self,
        weights: &Weights,
        sweep: Sweep,
        on_final: &mut dyn FnMut(ParamId),
    ) -> Result<()> {
        let as_graph = self.graphs.enabled
            && !self.device.is_cpu()
            && self.clocks.is_none()
            && self.can_freeze_patches()
            && !self.flips.any()
            && self.images() > 0;
        if !as_graph {
            return self.launch_sweep(weights, sweep, on_final);
        }
        let frozen = self.frozen(weights);
        let kept = self.graphs.captured.remove(&sweep).filter(|kept| kept.frozen == frozen);
        let mut captured = match kept {
            Some(captured) => captured,
            None => {
                let mut finals = Vec::new();
                let launch = || self.launch_sweep(weights, sweep, &mut |id| finals.push(id));
                let graph = self.device.capture(launch)?;
                Captured { graph, frozen, finals }
            }
        };
        // SAFETY: values, tables and copies of parameters are this execution's, and the weights' addresses are the same:
        // `frozen` says that all still lies where it lay.
        let replayed = unsafe { captured.graph.replay() };
        if replayed.is_ok() {
            captured.finals.iter().for_each(|id| on_final(*id));
        }
        self.graphs.captured.insert(sweep, captured);
        replayed
    }

    fn launch_sweep(
        &self,
        weights: &Weights,
        sweep: Sweep,
        on_final: &mut dyn FnMut(ParamId),
    ) -> Result<()> {
        let runs = match sweep {
            Sweep::Forward => vec![true; self.tape.nodes().len()],
            Sweep::From(node) => self.dependents(node),
            Sweep::Backward { output, adds } => {
                return self.sweep_back(weights, output, None, adds, on_final);
            }
        };
        for index in (0..runs.len()).filter(|index| runs[*index]) {
            self.run_whole(weights, NodeId(index))?;
        }
        // All readers have run, and kept values must be golden again: the last hit is undone first.
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
            weights: weights.addresses(),
            is_training: self.batch.is_training(),
            compute: self.device.compute(),
            armed: self.armed.nodes().map(|(index, faults)| (index, faults.frozen())).collect(),
            patches: self.armed.frozen_patches(),
            images: self.armed.has_patches().then(|| self.images()),
        }
    }
}
