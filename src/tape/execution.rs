//! Running a tape: memory for one plan, forward and backward.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::armed::{Armed, FaultMemory, Patch};
use super::graph::Graphs;
use super::lowering::Lowering;
use super::packed::PackedWeights;
use super::plan::MemoryPlan;
use super::timings::{Clocks, KindTime, Way};
use super::{NodeId, ParamId, PlanKind, Slot, Tape};
use crate::device::{Buffer, Device};
use crate::number::Compute;
use crate::ops::RunState;
use crate::tensor::{Map, Region, Spec, Tensor};
use crate::{Error, Result};

/// Where the slots of a plan lie.
pub(super) enum Memory {
    Arena(Buffer),
    /// By slot offset and node: an allocation each, so that a sanitizer sees their ends.
    Scattered(HashMap<(SlotKind, usize), Buffer>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum SlotKind {
    Value,
    Saved,
    Gradient,
    Workspace,
}

/// A tape with memory to run it on one device, for up to `capacity` images at a time.
///
/// The pattern: [`Execution::begin`] a batch, [`Execution::write`] its inputs, then
/// [`Execution::forward`], and [`Execution::backward`] or [`Execution::read`].
pub struct Execution {
    pub(super) tape: Arc<Tape>,
    pub(super) device: Device,
    pub(super) lowering: Lowering,
    pub(super) plan: MemoryPlan,
    pub(super) memory: Memory,
    pub(super) capacity: usize,
    pub(super) needed: Vec<bool>,
    pub(super) gradient_flows: Vec<bool>,
    /// Nodes whose values a replay of whole nodes has changed since the last forward pass.
    pub(super) stale: Vec<bool>,
    pub(super) state: RunState,
    pub(super) state_buffer: Buffer,
    /// The same for nodes whose value is one for all images: a batch of one.
    shared_state_buffer: Buffer,
    pub(super) samples: Vec<u64>,
    pub(super) samples_buffer: Buffer,
    pub(super) armed: HashMap<usize, Armed>,
    /// By node: of faults that were taken away.
    pub(super) fault_memory: HashMap<usize, FaultMemory>,
    pub(super) graphs: Graphs,
    /// Parameters as single images see them.
    pub(super) patches: Vec<Patch>,
    /// Copies without faults.
    pub(super) idle_patches: Vec<Patch>,
    /// Whether copies of parameters are kept for the next fault in them: for many faults in weights that
    /// don't change meanwhile.
    pub keep_patches: bool,
    /// Copies of weights that the CPU multiplies faster with.
    pub(crate) packed: Option<Arc<PackedWeights>>,
    /// Whether one pass may use every core of the CPU; off where passes run side by side.
    pub parallel: bool,
    pub(super) clocks: Option<Clocks>,
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
        needed: Vec<bool>,
        fed: Option<NodeId>,
    ) -> Result<Self> {
        let mut gradient_flows = vec![false; tape.nodes().len()];
        if kind == PlanKind::Train {
            for (index, node) in tape.nodes().iter().enumerate() {
                let trained = |id: &ParamId| tape.params()[id.0].spec.role.is_trained();
                gradient_flows[index] = node.wants_gradient
                    || node.params.iter().any(trained)
                    || node.inputs.iter().any(|input| gradient_flows[input.0]);
            }
        }
        // Steps read running statistics, and no value that lies inside a launch is kept.
        let lowering = if matches!(kind, PlanKind::Infer | PlanKind::Replay) {
            Lowering::fused(tape, &needed, outputs, !device.is_cpu())
        } else {
            Lowering::alone(tape)
        };
        let mut planned = needed.clone();
        if let Some(fed) = fed {
            planned[fed.0] = true;
        }
        let plan =
            MemoryPlan::new(tape, kind, capacity, &planned, outputs, &gradient_flows, &lowering);
        let memory = if MemoryPlan::is_scattered(device) {
            let mut buffers = HashMap::new();
            let areas = [
                (SlotKind::Value, &plan.values),
                (SlotKind::Saved, &plan.saved),
                (SlotKind::Gradient, &plan.gradients),
            ];
            for (area, slots) in areas {
                for (index, slot) in slots.iter().enumerate() {
                    if slot.bytes > 0 && tape.owner(NodeId(index)).0 == index {
                        buffers.insert((area, index), device.alloc(slot.bytes)?);
                    }
                }
            }
            buffers.insert((SlotKind::Workspace, 0), device.alloc(plan.workspace.bytes)?);
            Memory::Scattered(buffers)
        } else {
            Memory::Arena(device.alloc(plan.bytes)?)
        };
        Ok(Execution {
            tape: tape.clone(),
            device: device.clone(),
            lowering,
            plan,
            memory,
            capacity,
            needed,
            gradient_flows,
            stale: vec![false; tape.nodes().len()],
            state: RunState::default(),
            state_buffer: device.alloc(size_of::<RunState>())?,
            shared_state_buffer: device.alloc(size_of::<RunState>())?,
            samples: vec![0; capacity],
            samples_buffer: device.alloc(8 * capacity)?,
            armed: HashMap::new(),
            fault_memory: HashMap::new(),
            graphs: Graphs::default(),
            patches: Vec::new(),
            idle_patches: Vec::new(),
            keep_patches: false,
            packed: None,
            parallel: true,
            clocks: None,
        })
    }

    /// Sets a clock a kind of operation to zero and lets them run from now on.
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
    /// [`Error::Usage`] for tensor cores on the CPU.
    pub fn set_compute(&mut self, compute: Compute) -> Result<()> {
        self.device = self.device.clone().with_compute(compute)?;
        Ok(())
    }

    /// The tape that is run.
    pub fn tape(&self) -> &Arc<Tape> {
        &self.tape
    }

    /// The most images of a pass.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The memory plan.
    pub fn plan(&self) -> &MemoryPlan {
        &self.plan
    }

    /// The valid images of the batch.
    pub fn images(&self) -> usize {
        self.state.images as usize
    }

    /// Begins a batch of `images` in eval mode.
    pub fn begin(&mut self, images: usize) -> Result<()> {
        self.begin_state(RunState { images: images as u32, ..RunState::default() }, &[])
    }

    /// Begins a batch of `samples.len()` images in training mode; `samples` and the key in
    /// `state` decide the random masks.
    pub fn begin_training(&mut self, state: RunState, samples: &[u64]) -> Result<()> {
        let state = RunState { images: samples.len() as u32, training: 1, ..state };
        self.begin_state(state, samples)
    }

    fn begin_state(&mut self, state: RunState, samples: &[u64]) -> Result<()> {
        if state.images as usize > self.capacity {
            return Err(Error::usage(format!(
                "a batch of {} images, but there is room for {}",
                state.images, self.capacity
            )));
        }
        self.state = state;
        self.state_buffer.write(0, bytemuck::bytes_of(&state))?;
        let shared = RunState { images: 1, ..state };
        self.shared_state_buffer.write(0, bytemuck::bytes_of(&shared))?;
        self.samples[..samples.len()].copy_from_slice(samples);
        self.samples_buffer.write(0, bytemuck::cast_slice(&self.samples))
    }

    /// Writes the valid images of a value, channels-last: an input, or any value of a `golden`
    /// plan.
    pub fn write<T: bytemuck::Pod>(&mut self, id: NodeId, values: &[T]) -> Result<()> {
        let node = self.tape.node(id);
        let images = self.maps(node.spec);
        let expected = images * node.spec.map.elements();
        if values.len() != expected {
            let found = values.len();
            return Err(Error::shape(
                &node.name,
                format!("takes {expected} values ({images} images), got {found}"),
            ));
        }
        self.require_kept(id)?;
        let tensor = self.value(id);
        // SAFETY: the slot holds `capacity` ≥ `images` maps.
        unsafe { self.device.write(tensor.address, bytemuck::cast_slice(values)) }
    }

    /// Reads the valid images of a value, channels-last: an output, or any value of a `golden`
    /// plan.
    ///
    /// # Errors
    /// [`Error::Usage`] for a value inside a launch; those of the device.
    pub fn read(&self, id: NodeId) -> Result<Vec<f32>> {
        self.require_kept(id)?;
        self.read_tensor(self.value(id))
    }

    /// Values inside a launch are never in memory.
    pub(super) fn require_kept(&self, id: NodeId) -> Result<()> {
        if self.lowering.keeps(self.tape.owner(id).0) {
            return Ok(());
        }
        let name = &self.tape.node(id).name;
        Err(Error::usage(format!("the value of {name} isn't kept in this plan")))
    }

    /// Reads a value's gradient right after backward; only the inputs' and those that nothing
    /// has overwritten since are meaningful.
    pub fn read_gradient(&self, id: NodeId) -> Result<Vec<f32>> {
        self.read_tensor(self.gradient(id))
    }

    fn read_tensor(&self, tensor: Tensor) -> Result<Vec<f32>> {
        let mut values = vec![0f32; self.maps(tensor.spec) * tensor.map().elements()];
        // SAFETY: the slot holds `capacity` ≥ `images` maps.
        unsafe { self.device.read(tensor.address, bytemuck::cast_slice_mut(&mut values))? };
        Ok(values)
    }

    /// Valid maps of a value: one an image, or one for all.
    pub(super) fn maps(&self, spec: Spec) -> usize {
        spec.maps(self.images())
    }

    /// All valid images of a node's value.
    pub(super) fn whole(&self, id: NodeId) -> Region {
        let spec = self.tape.node(id).spec;
        Region::full(self.maps(spec), spec.map)
    }

    /// The state that a node's passes see, on the host and for kernels.
    pub(super) fn state_of(&self, spec: Spec) -> (RunState, u64) {
        if spec.shared {
            let state = RunState { images: 1, ..self.state };
            return (state, self.shared_state_buffer.address());
        }
        (self.state, self.state_buffer.address())
    }

    /// A value's memory.
    pub(super) fn value(&self, id: NodeId) -> Tensor {
        let owner = self.tape.owner(id).0;
        let address = self.address(SlotKind::Value, owner, self.plan.values[owner]);
        let spec = self.tape.node(id).spec;
        Tensor { address, spec, images: spec.maps(self.capacity) }
    }

    pub(super) fn gradient(&self, id: NodeId) -> Tensor {
        let address = self.address(SlotKind::Gradient, id.0, self.plan.gradients[id.0]);
        let spec = self.tape.node(id).spec;
        Tensor { address, spec, images: spec.maps(self.capacity) }
    }

    pub(super) fn bytes_view(&self, area: SlotKind, node: usize, slot: Slot) -> Tensor {
        let spec = Spec::f32(Map::vector(slot.bytes / 4));
        // An empty slot still needs a valid, aligned address for an empty slice.
        let address = if slot.bytes == 0 { 256 } else { self.address(area, node, slot) };
        Tensor { address, spec, images: 1 }
    }

    pub(super) fn address(&self, area: SlotKind, node: usize, slot: Slot) -> u64 {
        match &self.memory {
            Memory::Arena(buffer) => buffer.address() + slot.offset as u64,
            Memory::Scattered(buffers) => buffers.get(&(area, node)).map_or(0, Buffer::address),
        }
    }
}
