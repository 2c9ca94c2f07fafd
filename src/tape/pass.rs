//! Passes of an execution: forward over nodes or boxes of them, backward, and the optimiser's step.

use super::execution::Execution;
use super::graph::Sweep;
use super::timings::Way;
use super::{NodeId, Optimizer, ParamId, PlanKind, Weights};
use crate::ops::memory_fault::Pass;
use crate::ops::{
    ArmedFaults, BackwardPass, ForwardPass, Gradient, HostBackward, HostForward, KernelBackward,
    KernelForward, RunState, StepPass,
};
use crate::tensor::{Region, Span, Tensor};
use crate::{Error, Result};

impl Execution {
    /// Runs every node that the outputs need, in eval mode.
    ///
    /// # Errors
    /// [`Error::Usage`] in training mode and for weights on another device; those of the device.
    pub fn forward(&mut self, weights: &Weights) -> Result<()> {
        self.require_eval()?;
        self.forward_all(weights)
    }

    /// The same with weights that nobody else uses, in either mode: in training mode running statistics are updated.
    ///
    /// # Errors
    /// [`Error::Usage`] for weights on another device; those of the device.
    pub fn forward_training(&mut self, weights: &mut Weights) -> Result<()> {
        self.forward_all(weights)
    }

    /// Refuses a box that reaches out of the valid images' values of a node.
    pub(super) fn require_box(&self, id: NodeId, region: Region) -> Result<()> {
        let whole = self.whole(id);
        if region.hull(whole) == whole {
            return Ok(());
        }
        Err(Error::usage(format!("'{}' has no box {region:?} here", self.tape.node(id).name)))
    }

    /// Refuses to run with weights that others may use.
    pub(super) fn require_eval(&self) -> Result<()> {
        if !self.batch.is_training() {
            return Ok(());
        }
        Err(Error::usage(
            "a pass in training mode updates running statistics: it needs forward_training",
        ))
    }

    fn forward_all(&mut self, weights: &Weights) -> Result<()> {
        weights.require_for(&self.tape, &self.device)?;
        self.stale.clear();
        self.sweep(weights, Sweep::Forward, &mut |_| ())
    }

    /// Runs the launch that ends with a node over all valid images, and the faults in memory before and
    /// after it.
    pub(super) fn run_whole(&self, weights: &Weights, last: NodeId) -> Result<()> {
        let Some(head) = self.lowering.launch(last.0).first() else { return Ok(()) };
        self.fault_input(*head, Pass::Hit)?;
        self.run(weights, last, self.whole(last))?;
        self.send_astray(*head, self.value(last))?;
        self.flip_stored(last)
    }

    /// Runs one node over a box of its output; its inputs' values must be there.
    ///
    /// # Errors
    /// As [`Execution::forward`]; [`Error::Usage`] for a box that reaches out of the valid images' values.
    pub fn forward_region(&mut self, weights: &Weights, id: NodeId, region: Region) -> Result<()> {
        self.require_eval()?;
        self.require_box(id, region)?;
        weights.require_for(&self.tape, &self.device)?;
        self.run(weights, id, region)
    }

    /// Runs the launch that ends with a node over a box; then, for the images that see other parameters,
    /// again.
    pub(super) fn run(&self, weights: &Weights, last: NodeId, region: Region) -> Result<()> {
        let patched = self.patched_images(self.lowering.launch(last.0), region.images);
        if !patched.is_empty() && self.batch.is_training() {
            return Err(Error::usage("one image's parameters are a matter of eval mode"));
        }
        let run = |region, alone| {
            let output = self.value_for(last, alone);
            self.run_members(weights, self.lowering.launch(last.0), output, region, alone)
        };
        if patched.len() < region.images.len() {
            run(region, None)?;
        }
        let one = Region { images: Span::one(0), ..region };
        patched.into_iter().try_for_each(|image| run(one, Some(image)))
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
        let Some(&id) = members.first() else { return Ok(()) };
        let steps = self.steps(weights, members, alone)?;
        let node = self.tape.node(id);
        let Some(op) = &node.op else { return Ok(()) };
        if region.is_empty() {
            return Ok(());
        }
        let value = |id: NodeId| self.value_for(id, alone);
        let inputs: Vec<Tensor> = node.inputs.iter().map(|input| value(*input)).collect();
        let param = |param: &ParamId| self.param_for(weights, *param, alone);
        let params: Vec<Tensor> = node.params.iter().map(param).collect();
        let (state, state_address) = self.state_for(id, alone.is_some());
        let (samples, samples_address) = self.batch.samples();
        let faults_alone = alone.map(|image| self.faults_alone(id, image)).transpose()?.flatten();
        let armed = match alone {
            Some(_) => faults_alone.as_ref(),
            None => self.armed.node(id),
        };
        let packed = self.options.packed.as_ref();
        let pass = ForwardPass {
            device: &self.device,
            node: &node.name,
            region,
            state,
            state_address,
            samples,
            samples_address,
            faults: armed
                .filter(|armed| armed.has_kernel_faults())
                .map(|armed| ArmedFaults { table: &armed.table, address: armed.address() }),
            steps: &steps,
            parallel: self.options.parallel,
            packed: packed.filter(|_| alone.is_none()).and_then(|packed| packed.of(weights, id)),
            inputs: &inputs,
            params: &params,
            output,
            saved: self.memory.saved(id),
            workspace: self.memory.workspace(),
        };
        let macs = || {
            let whole = op.cost(&self.tape.input_specs(id)).macs * self.maps(node.spec) as u64;
            let share = region.elements() as f64 / self.whole(id).elements().max(1) as f64;
            Way::Forward { macs: (whole as f64 * share) as u64 }
        };
        // SAFETY: the plan gives values that live at one time, saved values and workspace places of their own, and they
        // live as long as `self`; parameters are those of `weights`, which are on this device. State is updated in
        // training alone, where the weights are one execution's own (`forward_training`).
        self.timed(op.kind(), macs, || match self.device.is_cpu() {
            // SAFETY: as above.
            true => op.forward(&mut unsafe { HostForward::new(pass) }),
            // SAFETY: as above.
            false => op.launch_forward(&unsafe { KernelForward::new(pass) }?),
        })
    }

    /// The state that a node's passes read: for one image where it is `alone`, and as in eval mode where all of its
    /// parameters are frozen.
    fn state_for(&self, id: NodeId, alone: bool) -> (RunState, u64) {
        let (state, address) = self.batch.state(alone || self.tape.node(id).spec.shared);
        match self.tape.is_settled(id) {
            true => (RunState { training: 0, ..state }, address),
            false => (state, address),
        }
    }

    /// The nodes of a launch behind its head, as steps.
    fn steps(
        &self,
        weights: &Weights,
        members: &[NodeId],
        alone: Option<usize>,
    ) -> Result<Vec<StepPass>> {
        if self.batch.is_training() && members.len() > 1 {
            return Err(Error::usage("a training pass needs the train plan"));
        }
        let step = |pair: &[NodeId]| {
            let node = self.tape.node(pair[1]);
            let params = node.params.iter().map(|id| self.param_for(weights, *id, alone));
            let others = node.inputs.iter().filter(|input| **input != pair[0]);
            let others = others.map(|input| self.value_for(*input, alone));
            let operands = params.chain(others).collect();
            Some(StepPass { step: node.op.as_ref()?.step()?, operands })
        };
        Ok(members.windows(2).filter_map(step).collect())
    }

    /// Runs backward from `output`, whose valid images' gradient is `gradient` (1/n an image for
    /// the mean of a loss). Gradients of parameters are assigned, not added: see
    /// [`Execution::backward_adding`]. `on_final` is called when what completes a parameter's gradient is queued.
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
        self.back_from(weights, output, gradient, false, &mut on_final)
    }

    /// As [`Execution::backward`], but gradients of parameters are added to those that the weights hold, of
    /// earlier batches of a step.
    ///
    /// # Errors
    /// As there.
    pub fn backward_adding(
        &mut self,
        weights: &mut Weights,
        output: NodeId,
        gradient: &[f32],
        mut on_final: impl FnMut(ParamId),
    ) -> Result<()> {
        self.back_from(weights, output, gradient, true, &mut on_final)
    }

    fn back_from(
        &mut self,
        weights: &mut Weights,
        output: NodeId,
        gradient: &[f32],
        adds: bool,
        on_final: &mut dyn FnMut(ParamId),
    ) -> Result<()> {
        if self.plan().kind != PlanKind::Train {
            return Err(Error::usage("backward needs the train plan"));
        }
        weights.require_for(&self.tape, &self.device)?;
        if self.seed_gradient(output, gradient)? {
            self.sweep(weights, Sweep::Backward { output, adds }, on_final)?;
        }
        Ok(())
    }

    /// Writes the gradient that a backward pass starts from; returns whether `output` depends on anything trained.
    pub(super) fn seed_gradient(&self, output: NodeId, gradient: &[f32]) -> Result<bool> {
        let node = self.tape.node(output);
        let expected = self.maps(node.spec) * node.spec.map.elements();
        if gradient.len() != expected {
            let found = gradient.len();
            let detail = format!("its gradient has {expected} values, got {found}");
            return Err(Error::shape(&node.name, detail));
        }
        if !self.memory.has_gradient(output) {
            // It depends on nothing that is trained, so that its gradient has no memory.
            return Ok(false);
        }
        // SAFETY: the slot holds `capacity` ≥ `images` maps.
        unsafe {
            self.device.write(self.gradient(output).address, bytemuck::cast_slice(gradient))?;
        }
        Ok(true)
    }

    /// Runs the nodes from `output` back. With `stop` only those that come after it, with parameters as image 0
    /// sees them, and no parameter's gradient is taken. Gradients of parameters are added to what is there where
    /// `adds` says so.
    pub(super) fn sweep_back(
        &self,
        weights: &Weights,
        output: NodeId,
        stop: Option<NodeId>,
        adds: bool,
        on_final: &mut dyn FnMut(ParamId),
    ) -> Result<()> {
        let mut written = vec![false; self.tape.nodes().len()];
        let mut param_written = vec![adds; self.tape.params().len()];
        written[output.0] = true;
        let (first, alone) = (stop.map_or(0, |node| node.0 + 1), stop.map(|_| 0));
        for index in (first..=output.0).rev() {
            if !(written[index] && self.memory.has_gradient(NodeId(index))) {
                continue;
            }
            let node = self.tape.node(NodeId(index));
            let Some(op) = &node.op else { continue };
            let mut input_gradients = Vec::with_capacity(node.inputs.len());
            for input in &node.inputs {
                input_gradients.push(self.memory.has_gradient(*input).then(|| Gradient {
                    tensor: self.gradient(*input),
                    accumulate: std::mem::replace(&mut written[input.0], true),
                }));
            }
            let mut param_gradients = Vec::with_capacity(node.params.len());
            for param in &node.params {
                let tensor = weights.gradient_tensor(*param).filter(|_| stop.is_none());
                param_gradients.push(tensor.map(|tensor| Gradient {
                    tensor,
                    accumulate: std::mem::replace(&mut param_written[param.0], true),
                }));
            }
            let inputs: Vec<Tensor> = node.inputs.iter().map(|input| self.value(*input)).collect();
            let param = |param: &ParamId| self.param_for(weights, *param, alone);
            let params: Vec<Tensor> = node.params.iter().map(param).collect();
            let (state, state_address) = self.state_for(NodeId(index), false);
            let (samples, samples_address) = self.batch.samples();
            let pass = BackwardPass {
                device: &self.device,
                node: &node.name,
                state,
                state_address,
                samples,
                samples_address,
                inputs: &inputs,
                params: &params,
                output: self.value(NodeId(index)),
                saved: self.memory.saved(NodeId(index)),
                workspace: self.memory.workspace(),
                output_gradient: self.gradient(NodeId(index)),
                input_gradients: &input_gradients,
                param_gradients: &param_gradients,
            };
            // SAFETY: as in `run_members`; gradients have places of their own, too.
            self.timed(
                op.kind(),
                || Way::Backward,
                || match self.device.is_cpu() {
                    // SAFETY: as above.
                    true => op.backward(&mut unsafe { HostBackward::new(pass, op.needs()) }),
                    // SAFETY: as above.
                    false => op.launch_backward(&unsafe { KernelBackward::new(pass) }),
                },
            )?;
            // Every parameter has one node here, so its gradient is final now.
            let taken = node.params.iter().zip(&param_gradients);
            taken.filter(|(_, gradient)| gradient.is_some()).for_each(|(id, _)| on_final(*id));
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
        let (state, state_address) = self.batch.state(false);
        optimizer.step(&self.device, weights, &state, state_address)
    }
}
