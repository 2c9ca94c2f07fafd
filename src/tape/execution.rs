//! Running a tape: memory for one plan, forward and backward.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::armed::{Armed, FaultMemory, Patch};
use super::graph::{Graphs, Sweep};
use super::lowering::Lowering;
use super::packed::PackedWeights;
use super::plan::Plan;
use super::timings::{Clocks, KindTime, Way};
use super::{NodeId, Optimizer, ParamId, PlanKind, Slot, Tape, Weights};
use crate::device::{Buffer, Compute, Device};
use crate::ops::memory_fault::Pass;
use crate::ops::{ArmedFaults, Backward, DeviceStep, Forward, Gradient, Op, RunState, Step};
use crate::tensor::{Map, Region, Span, Spec, Tensor};
use crate::{Error, Result};

/// Where the slots of a plan lie.
enum Memory {
    Arena(Buffer),
    /// By slot offset and node: an allocation each, so that a sanitizer sees their ends.
    Scattered(HashMap<(Area, usize), Buffer>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Area {
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
    plan: Plan,
    memory: Memory,
    pub(super) capacity: usize,
    pub(super) needed: Vec<bool>,
    gradient_flows: Vec<bool>,
    /// Nodes whose values a replay of whole nodes has changed since the last forward pass.
    pub(super) stale: Vec<bool>,
    pub(super) state: RunState,
    state_buffer: Buffer,
    /// The same for nodes whose value is one for all images: a batch of one.
    shared_state_buffer: Buffer,
    samples: Vec<u64>,
    samples_buffer: Buffer,
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
        let plan = Plan::new(tape, kind, capacity, &planned, outputs, &gradient_flows, &lowering);
        let memory = if Plan::is_scattered(device) {
            let mut buffers = HashMap::new();
            let areas = [
                (Area::Value, &plan.values),
                (Area::Saved, &plan.saved),
                (Area::Gradient, &plan.gradients),
            ];
            for (area, slots) in areas {
                for (index, slot) in slots.iter().enumerate() {
                    if slot.bytes > 0 && tape.owner(NodeId(index)).0 == index {
                        buffers.insert((area, index), device.alloc(slot.bytes)?);
                    }
                }
            }
            buffers.insert((Area::Workspace, 0), device.alloc(plan.workspace.bytes)?);
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
    fn timed(
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
    pub fn plan(&self) -> &Plan {
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
    fn require_kept(&self, id: NodeId) -> Result<()> {
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

    /// Runs every node that the outputs need.
    ///
    /// # Errors
    /// [`Error::Usage`] for weights on another device; those of the device.
    pub fn forward(&mut self, weights: &Weights) -> Result<()> {
        weights.require_on(&self.device)?;
        self.stale.fill(false);
        self.sweep(weights, Sweep::Forward)
    }

    /// Runs the launch that ends with a node over all valid images, and the faults in memory before and
    /// after it.
    pub(super) fn run_whole(&self, weights: &Weights, last: NodeId) -> Result<()> {
        let Some(head) = self.lowering.launch(last.0).first() else { return Ok(()) };
        self.fault_input(*head, Pass::Hit)?;
        self.run(weights, last, self.whole(last))?;
        self.send_astray(*head, self.value(last))
    }

    /// Runs one node over a box of its output; its inputs' values must be there.
    ///
    /// # Errors
    /// As [`Execution::forward`].
    pub fn forward_region(&mut self, weights: &Weights, id: NodeId, region: Region) -> Result<()> {
        weights.require_on(&self.device)?;
        self.run(weights, id, region)
    }

    /// Valid maps of a value: one an image, or one for all.
    fn maps(&self, spec: Spec) -> usize {
        spec.maps(self.images())
    }

    /// All valid images of a node's value.
    pub(super) fn whole(&self, id: NodeId) -> Region {
        let spec = self.tape.node(id).spec;
        Region::full(self.maps(spec), spec.map)
    }

    /// The state that a node's passes see, on the host and for kernels.
    fn state_of(&self, spec: Spec) -> (RunState, u64) {
        if spec.shared {
            let state = RunState { images: 1, ..self.state };
            return (state, self.shared_state_buffer.address());
        }
        (self.state, self.state_buffer.address())
    }

    /// Runs the launch that ends with a node over a box; then, for the images that see other parameters,
    /// again.
    pub(super) fn run(&self, weights: &Weights, last: NodeId, region: Region) -> Result<()> {
        let patched = self.patched_images(self.lowering.launch(last.0), region.images);
        if !patched.is_empty() && self.state.training != 0 {
            return Err(Error::usage("one image's parameters are a matter of eval mode"));
        }
        if patched.len() < region.images.len() {
            self.run_for(weights, last, region, None)?;
        }
        patched.into_iter().try_for_each(|image| {
            let region = Region { images: Span::one(0), ..region };
            self.run_for(weights, last, region, Some(image))
        })
    }

    /// The launch that ends with a node; `alone`: one image's, as a batch of one with its parameters.
    fn run_for(
        &self,
        weights: &Weights,
        last: NodeId,
        region: Region,
        alone: Option<usize>,
    ) -> Result<()> {
        let members = self.lowering.launch(last.0);
        self.run_members(weights, members, self.value_for(last, alone), region, alone)
    }

    /// A head and steps behind it, to `output`.
    pub(super) fn run_members(
        &self,
        weights: &Weights,
        members: &[NodeId],
        output: Tensor,
        region: Region,
        alone: Option<usize>,
    ) -> Result<()> {
        let Some((id, behind)) = members.split_first() else { return Ok(()) };
        let id = *id;
        let (steps, device_steps) = self.steps(weights, id, behind, alone)?;
        let node = self.tape.node(id);
        let Some(op) = node.op.as_ref().filter(|op| !op.is_view()) else { return Ok(()) };
        if region.is_empty() {
            return Ok(());
        }
        self.require_kernels(op.as_ref())?;
        let value = |id: NodeId| self.value_for(id, alone);
        let inputs: Vec<Tensor> = node.inputs.iter().map(|input| value(*input)).collect();
        let param = |param: &ParamId| self.param_for(weights, *param, alone);
        let params: Vec<Tensor> = node.params.iter().map(param).collect();
        let (state, state_address) = match alone {
            Some(_) => self.state_of(node.spec.shared()),
            None => self.state_of(node.spec),
        };
        let faults_alone = alone.map(|image| self.faults_alone(id, image)).transpose()?.flatten();
        let armed = match alone {
            Some(_) => faults_alone.as_ref(),
            None => self.armed.get(&id.0),
        };
        let mut context = Forward {
            device: &self.device,
            node: &node.name,
            region,
            state,
            state_address,
            samples: &self.samples,
            samples_address: self.samples_buffer.address(),
            faults: armed
                .filter(|armed| armed.has_kernel_faults())
                .map(|armed| ArmedFaults { table: &armed.table, address: armed.address() }),
            steps: &steps,
            device_steps: &device_steps,
            parallel: self.parallel,
            packed: self
                .packed
                .as_ref()
                .filter(|_| alone.is_none())
                .and_then(|p| p.of(weights, id)),
            inputs: &inputs,
            params: &params,
            output,
            saved: self.bytes_view(Area::Saved, id.0, self.plan.saved[id.0]),
            workspace: self.bytes_view(Area::Workspace, 0, self.plan.workspace),
        };
        let macs = || {
            let whole = op.cost(&self.tape.input_specs(id)).macs * self.maps(node.spec) as u64;
            let share = region.elements() as f64 / self.whole(id).elements().max(1) as f64;
            Way::Forward { macs: (whole as f64 * share) as u64 }
        };
        self.timed(op.kind(), macs, || op.forward(&mut context))
    }

    /// The nodes of a launch behind its head, as steps: the CPU's, or those of kernels.
    fn steps<'a>(
        &'a self,
        weights: &'a Weights,
        head: NodeId,
        behind: &[NodeId],
        alone: Option<usize>,
    ) -> Result<(Vec<Step<'a>>, Vec<DeviceStep>)> {
        let (mut steps, mut device_steps) = (Vec::new(), Vec::new());
        if self.state.training != 0 && !behind.is_empty() {
            return Err(Error::usage("a training pass needs the train plan"));
        }
        let mut before = head;
        for id in behind {
            let node = self.tape.node(*id);
            let params: Vec<Tensor> =
                node.params.iter().map(|param| self.param_for(weights, *param, alone)).collect();
            let other = node.inputs.iter().find(|input| **input != before);
            let other = other.map(|input| self.value_for(*input, alone));
            let op = node.op.as_ref();
            let known = if self.device.is_cpu() {
                // SAFETY: parameters and values of a pass on the CPU, which this launch only reads.
                let host = |tensor: Tensor| -> &'a [f32] { unsafe { tensor.slice() } };
                let params: Vec<&[f32]> = params.into_iter().map(host).collect();
                let step = op.and_then(|op| op.step(&params, other.map(host)));
                step.map(|step| steps.push(step))
            } else {
                let step = op.and_then(|op| op.device_step(&params, other));
                step.map(|step| device_steps.push(step))
            };
            if known.is_none() {
                return Err(Error::Unsupported {
                    op: format!("{} behind {}", node.name, self.tape.node(head).name),
                    device: self.device.kind().to_string(),
                });
            }
            before = *id;
        }
        Ok((steps, device_steps))
    }

    /// # Errors
    /// [`Error::Unsupported`] where the device has no kernels of the operation.
    fn require_kernels(&self, op: &dyn Op) -> Result<()> {
        if self.device.is_cpu() || op.has_kernels() {
            return Ok(());
        }
        Err(Error::Unsupported { op: op.kind().into(), device: self.device.kind().to_string() })
    }

    /// Runs backward from `output`, whose valid images' gradient is `gradient` (1/n an image for
    /// the mean of a loss). Gradients of parameters are assigned, not added. `on_final` is called
    /// when a parameter's gradient is complete.
    ///
    /// # Errors
    /// [`Error::Usage`] for another plan than [`PlanKind::Train`] and for weights on another device,
    /// [`Error::Shape`] for a gradient of another size; those of the device.
    pub fn backward(
        &mut self,
        weights: &mut Weights,
        output: NodeId,
        gradient: &[f32],
        mut on_final: impl FnMut(ParamId),
    ) -> Result<()> {
        if self.plan.kind != PlanKind::Train {
            return Err(Error::usage("backward needs the train plan"));
        }
        weights.require_on(&self.device)?;
        let node = self.tape.node(output);
        let expected = self.maps(node.spec) * node.spec.map.elements();
        if gradient.len() != expected {
            let found = gradient.len();
            let detail = format!("its gradient has {expected} values, got {found}");
            return Err(Error::shape(&node.name, detail));
        }
        if !self.gradient_flows[output.0] {
            // Nothing that is trained lies behind it, and its gradient has no memory.
            return Ok(());
        }
        // SAFETY: the slot holds `capacity` ≥ `images` maps.
        unsafe {
            self.device.write(self.gradient(output).address, bytemuck::cast_slice(gradient))?;
        }
        let mut written = vec![false; self.tape.nodes().len()];
        let mut param_written = vec![false; self.tape.params().len()];
        written[output.0] = true;
        for index in (0..=output.0).rev() {
            if !(self.needed[index] && self.gradient_flows[index] && written[index]) {
                continue;
            }
            let tape = self.tape.clone();
            let node = tape.node(NodeId(index));
            let Some(op) = &node.op else { continue };
            self.require_kernels(op.as_ref())?;
            let mut input_gradients = Vec::with_capacity(node.inputs.len());
            for input in &node.inputs {
                input_gradients.push(self.gradient_flows[input.0].then(|| Gradient {
                    tensor: self.gradient(*input),
                    accumulate: std::mem::replace(&mut written[input.0], true),
                }));
            }
            let mut param_gradients = Vec::with_capacity(node.params.len());
            for param in &node.params {
                param_gradients.push(weights.gradient_tensor(*param).map(|tensor| Gradient {
                    tensor,
                    accumulate: std::mem::replace(&mut param_written[param.0], true),
                }));
            }
            let inputs: Vec<Tensor> = node.inputs.iter().map(|input| self.value(*input)).collect();
            let params: Vec<Tensor> = node.params.iter().map(|p| weights.tensor(*p)).collect();
            let (state, state_address) = self.state_of(node.spec);
            let mut context = Backward {
                device: &self.device,
                node: &node.name,
                state,
                state_address,
                samples: &self.samples,
                samples_address: self.samples_buffer.address(),
                inputs: &inputs,
                params: &params,
                output: self.value(NodeId(index)),
                saved: self.bytes_view(Area::Saved, index, self.plan.saved[index]),
                workspace: self.bytes_view(Area::Workspace, 0, self.plan.workspace),
                output_gradient: self.gradient(NodeId(index)),
                input_gradients: &input_gradients,
                param_gradients: &param_gradients,
            };
            self.timed(op.kind(), || Way::Backward, || op.backward(&mut context))?;
            // Every parameter has one node here, so its gradient is final now.
            node.params.iter().filter(|p| param_written[p.0]).for_each(|p| on_final(*p));
        }
        Ok(())
    }

    /// Moves all trained parameters by one step of `optimizer`, by the learning rate and the step in
    /// the batch's state (see [`super::Rule::state`]).
    ///
    /// # Errors
    /// [`Error::Usage`] for weights without gradients or on another device, [`Error::Shape`] for an
    /// optimiser of other weights; those of the device.
    pub fn update(&self, weights: &mut Weights, optimizer: &mut Optimizer) -> Result<()> {
        optimizer.step(&self.device, weights, &self.state, self.state_buffer.address())
    }

    /// A value's memory.
    pub(super) fn value(&self, id: NodeId) -> Tensor {
        let owner = self.tape.owner(id).0;
        let address = self.address(Area::Value, owner, self.plan.values[owner]);
        let spec = self.tape.node(id).spec;
        Tensor { address, spec, images: spec.maps(self.capacity) }
    }

    fn gradient(&self, id: NodeId) -> Tensor {
        let address = self.address(Area::Gradient, id.0, self.plan.gradients[id.0]);
        let spec = self.tape.node(id).spec;
        Tensor { address, spec, images: spec.maps(self.capacity) }
    }

    fn bytes_view(&self, area: Area, node: usize, slot: Slot) -> Tensor {
        let spec = Spec::f32(Map::vector(slot.bytes / 4));
        // An empty slot still needs a valid, aligned address for an empty slice.
        let address = if slot.bytes == 0 { 256 } else { self.address(area, node, slot) };
        Tensor { address, spec, images: 1 }
    }

    fn address(&self, area: Area, node: usize, slot: Slot) -> u64 {
        match &self.memory {
            Memory::Arena(buffer) => buffer.address() + slot.offset as u64,
            Memory::Scattered(buffers) => buffers.get(&(area, node)).map_or(0, Buffer::address),
        }
    }
}
