//! How an output changes with a value inside the network: backward through a pass in eval mode, down to a node.

use super::{Execution, NodeId, PlanKind, Weights};
use crate::{Error, Result};

impl Execution {
    /// The derivative of Σ `seed`·`output` by a value, channels-last, after a forward pass in eval mode (batch norm by
    /// its running statistics, no dropout). Once a forward pass, since it overwrites what that left. `at` has to come
    /// before `output`; its own value can be read where it is one of the plan's outputs.
    ///
    /// It is that of the pass that was run, faults included: values and parameters are those that the pass computed
    /// with, and what a fault added to a value is taken for a constant.
    ///
    /// # Errors
    /// [`Error::Usage`] for another plan than [`PlanKind::Train`], a pass in training, weights on another device, and
    /// an image with parameters of its own beside others; [`Error::Shape`] for a seed of another size, and for an
    /// `at` that `output` doesn't follow from; those of the device.
    pub fn gradient_at(
        &mut self,
        weights: &Weights,
        output: NodeId,
        seed: &[f32],
        at: NodeId,
    ) -> Result<Vec<f32>> {
        if self.plan().kind != PlanKind::Train || self.batch.is_training() {
            return Err(Error::usage(
                "a gradient inside the network is taken in eval mode, on the train plan",
            ));
        }
        weights.require_for(&self.tape, &self.device)?;
        if self.armed.has_patches() && self.images() != 1 {
            return Err(Error::usage(
                "gradients through one image's parameters need a batch of that image alone",
            ));
        }
        let name = &self.tape.node(at).name;
        if !self.memory.has_gradient(at) {
            return Err(Error::shape(
                name,
                "no parameter comes before it, so that it has no gradient",
            ));
        }
        if at.0 >= output.0 || !self.tape.needed_for(&[output])[at.0] {
            let detail = format!("{} doesn't follow from it", self.tape.node(output).name);
            return Err(Error::shape(name, detail));
        }
        self.seed_gradient(output, seed)?;
        self.sweep_back(weights, output, Some(at), false, &mut |_| ())?;
        self.read_gradient(at)
    }
}
