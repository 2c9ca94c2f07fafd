//! A model with its weights.

use super::{Model, load_state};
use crate::Result;
use crate::checkpoint::Checkpoint;
use crate::device::Device;
use crate::tape::{Execution, NodeId, PlanKind, Weights};

/// A model with its weights, on the weights' device.
pub struct Network {
    pub model: Model,
    pub weights: Weights,
}

impl Network {
    /// `model` with the weights of `checkpoint`, on `device`.
    ///
    /// # Errors
    /// Those of [`load_state`]; out of memory.
    pub fn load(model: Model, checkpoint: &Checkpoint, device: &Device) -> Result<Network> {
        let mut weights = Weights::new(&model.tape, device, false)?;
        load_state(&model, &mut weights, checkpoint)?;
        Ok(Network { model, weights })
    }

    /// `model` with random weights, on `device`.
    ///
    /// # Errors
    /// Out of memory.
    pub fn random(model: Model, seed: u64, device: &Device) -> Result<Network> {
        let mut weights = Weights::new(&model.tape, device, false)?;
        weights.initialize(seed)?;
        Ok(Network { model, weights })
    }

    /// The device that holds the weights and runs the passes.
    pub fn device(&self) -> &Device {
        self.weights.device()
    }

    /// Memory for passes of up to `capacity` images, after which `outputs` can be read.
    ///
    /// # Errors
    /// Out of memory.
    pub fn execution(
        &self,
        kind: PlanKind,
        capacity: usize,
        outputs: &[NodeId],
    ) -> Result<Execution> {
        Execution::new(&self.model.tape, self.device(), kind, capacity, outputs)
    }

    /// A forward pass over the images in `pixels`, N × height × width × channels.
    ///
    /// # Errors
    /// Pixels that aren't whole images, more of them than there is room for; those of the device.
    pub fn forward(&self, execution: &mut Execution, pixels: &[f32]) -> Result<()> {
        execution.begin(pixels.len() / self.model.image_elements())?;
        execution.write(self.model.image, pixels)?;
        execution.forward(&self.weights)
    }
}
