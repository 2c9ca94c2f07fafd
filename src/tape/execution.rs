//! Running a tape. What a pass needs is in parts, whose state their own files alone change.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::armed::Armed;
use super::batch::BatchState;
use super::flips::MemoryFlips;
use super::graph::Graphs;
use super::lowering::Lowering;
use super::memory::Memory;
use super::packed::PackedWeights;
use super::timings::{Clocks, KindTime, Way};
use super::words::WordMemory;
use super::{MemoryPlan, Node, NodeId, PlanKind, Tape, require_size};
use crate::Result;
use crate::device::Device;
use crate::number::Compute;

/// A tape with memory to run it on one device, for up to `capacity` images at a time.
///
/// The pattern: [`Execution::begin`] a batch, [`Execution::write`] its inputs, then
/// [`Execution::forward`], and [`Execution::backward`] or [`Execution::read`].
pub struct Execution {
    pub(super) tape: Arc<Tape>,
    pub(super) device: Device,
    pub(super) lowering: Lowering,
    pub(super) memory: Memory,
    pub(super) batch: BatchState,
    pub(super) armed: Armed,
    pub(super) flips: MemoryFlips,
    /// Nodes whose values a replay of whole nodes has changed since the last forward pass, one flag a node; none where
    /// all are golden.
    pub(super) stale: Vec<bool>,
    pub(super) graphs: Graphs,
    pub(super) words: WordMemory,
    pub(super) clocks: Option<Clocks>,
    pub options: PassOptions,
}

/// How passes are run, which changes none of their bits.
pub struct PassOptions {
    /// Whether one pass may use every core of the CPU; off where passes run side by side.
    pub parallel: bool,
    /// Whether copies of parameters are kept for the next fault in them: for many faults in weights that
    /// don't change meanwhile.
    pub keep_patches: bool,
    /// Copies of weights that the CPU multiplies faster with.
    pub(crate) packed: Option<Arc<PackedWeights>>,
}

impl Execution {
    /// Memory on `device` for the nodes that `outputs` need.
    ///
    /// # Errors
    /// Out of memory, with the bytes that were asked for.
    pub fn new(
        tape: &Arc<Tape>,
        device: &Device,
        kind: PlanKind,
        capacity: usize,
        outputs: &[NodeId],
    ) -> Result<Self> {
        let needed = tape.needed_for(outputs);
        Execution::of_nodes(tape, device, kind, capacity, outputs, needed, None)
    }

    /// Memory for the nodes of `needed`, and for the value of `fed`, which is written and not computed.
    pub(super) fn of_nodes(
        tape: &Arc<Tape>,
        device: &Device,
        kind: PlanKind,
        capacity: usize,
        outputs: &[NodeId],
        mut needed: Vec<bool>,
        fed: Option<NodeId>,
    ) -> Result<Self> {
        // Fused steps use running statistics and keep no value inside a launch, so that only these plans fuse.
        let lowering = if matches!(kind, PlanKind::Infer | PlanKind::Replay) {
            Lowering::fused(tape, &needed, outputs, !device.is_cpu())
        } else {
            Lowering::alone(&needed)
        };
        if let Some(fed) = fed {
            needed[fed.0] = true;
        }
        let sides =
            |node: &Node| [node.spec.map.height, node.spec.map.width, node.spec.map.channels];
        for node in tape.nodes() {
            require_size(&node.name, sides(node))?;
        }
        let plan = MemoryPlan::new(tape, kind, capacity, &needed, outputs, &lowering);
        Ok(Execution {
            tape: tape.clone(),
            device: device.clone(),
            lowering,
            memory: Memory::new(device, plan, capacity)?,
            batch: BatchState::new(device, capacity)?,
            armed: Armed::default(),
            flips: MemoryFlips::default(),
            stale: Vec::new(),
            graphs: Graphs::default(),
            words: WordMemory::default(),
            clocks: None,
            options: PassOptions { parallel: true, keep_patches: false, packed: None },
        })
    }

    /// Measures from now on how long each kind of operation takes, starting from zero.
    pub fn start_clocks(&mut self) {
        self.clocks = Some(Clocks::default());
    }

    /// What each kind of operation has taken since [`Execution::start_clocks`]; empty without it.
    pub fn timings(&self) -> BTreeMap<&'static str, KindTime> {
        self.clocks.as_ref().map(Clocks::read).unwrap_or_default()
    }

    /// Runs one pass of an operation, by the clock if there is one.
    pub(super) fn timed(
        &self,
        kind: &'static str,
        way: impl FnOnce() -> Way,
        pass: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        match &self.clocks {
            None => pass(),
            Some(clocks) => clocks.time(kind, way(), &self.device, pass),
        }
    }

    /// From now on convolutions and linear layers multiply as `compute` says; at first as the device
    /// that this was made for ([`Device::with_compute`]).
    ///
    /// # Errors
    /// [`crate::Error::Usage`] for tensor cores on the CPU.
    pub fn set_compute(&mut self, compute: Compute) -> Result<()> {
        self.device = self.device.clone().with_compute(compute)?;
        Ok(())
    }

    /// The tape that is run.
    pub fn tape(&self) -> &Arc<Tape> {
        &self.tape
    }
}
