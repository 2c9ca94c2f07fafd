//! Memory for one plan: where each value, gradient and saved value lies on a device, and how callers write and read
//! them.

use super::{Execution, MemoryPlan, NodeId, Slot};
use crate::device::{Buffer, Device};
use crate::tensor::{Map, Region, Spec, Tensor};
use crate::{Error, Result};

/// The slots of a plan for up to `capacity` images.
pub(super) struct Memory {
    plan: MemoryPlan,
    capacity: usize,
    /// What holds the slots: one arena or, on the emulator, where sanitizers watch their ends, an allocation each.
    _buffers: Vec<Buffer>,
    /// Addresses by node; 0 where there is no slot.
    values: Vec<u64>,
    saved: Vec<u64>,
    gradients: Vec<u64>,
    workspace: u64,
}

impl Memory {
    /// # Errors
    /// Out of memory, with the bytes that were asked for.
    pub fn new(device: &Device, plan: MemoryPlan, capacity: usize) -> Result<Memory> {
        let is_scattered = device.host_memory() && !device.is_cpu();
        let mut buffers = Vec::new();
        if !is_scattered {
            buffers.push(device.alloc(plan.bytes)?);
        }
        let mut place = |slot: &Slot| {
            if slot.bytes == 0 {
                return Ok(0);
            }
            if is_scattered {
                buffers.push(device.alloc(slot.bytes)?);
                return Ok(buffers[buffers.len() - 1].address());
            }
            Ok(buffers[0].address() + slot.offset as u64)
        };
        let mut all = |slots: &[Slot]| slots.iter().map(&mut place).collect::<Result<Vec<u64>>>();
        let values = all(&plan.values)?;
        let (saved, gradients) = (all(&plan.saved)?, all(&plan.gradients)?);
        let workspace = place(&plan.workspace)?;
        Ok(Memory { plan, capacity, _buffers: buffers, values, saved, gradients, workspace })
    }

    /// Whether a gradient flows to a node's value.
    pub fn has_gradient(&self, id: NodeId) -> bool {
        self.gradients[id.0] != 0
    }

    /// What a node's forward saves for its backward.
    pub fn saved(&self, id: NodeId) -> Tensor {
        words(self.saved[id.0], self.plan.saved[id.0])
    }

    /// Scratch memory of whichever node runs.
    pub fn workspace(&self) -> Tensor {
        words(self.workspace, self.plan.workspace)
    }
}

fn words(address: u64, slot: Slot) -> Tensor {
    // An empty slot still needs a valid, aligned address for an empty slice.
    let address = if slot.bytes == 0 { 256 } else { address };
    Tensor { address, spec: Spec::f32(Map::vector(slot.bytes / 4)), images: 1 }
}

impl Execution {
    /// The most images of a pass.
    pub fn capacity(&self) -> usize {
        self.memory.capacity
    }

    /// The memory plan.
    pub fn plan(&self) -> &MemoryPlan {
        &self.memory.plan
    }

    /// Writes the valid images of a value, channels-last: an input, or any value of a `golden`
    /// plan.
    pub fn write<T: bytemuck::Pod>(&mut self, id: NodeId, values: &[T]) -> Result<()> {
        let node = self.tape.node(id);
        let images = self.maps(node.spec);
        let expected = images * node.spec.map.elements();
        if values.len() != expected || size_of::<T>() != node.spec.storage.bytes() {
            let found = format!("{} of {} bytes each", values.len(), size_of::<T>());
            let detail =
                format!("takes {expected} values of 4 bytes ({images} images), got {found}");
            return Err(Error::shape(&node.name, detail));
        }
        let tensor = self.kept(id, "value", self.value(id))?;
        // SAFETY: the slot holds `capacity` ≥ `images` maps.
        unsafe { self.device.write(tensor.address, bytemuck::cast_slice(values)) }
    }

    /// Reads the valid images of a value, channels-last: an output, or any value of a `golden`
    /// plan.
    ///
    /// # Errors
    /// [`Error::Usage`] for a value inside a launch; those of the device.
    pub fn read(&self, id: NodeId) -> Result<Vec<f32>> {
        self.read_tensor(self.kept(id, "value", self.value(id))?)
    }

    /// Reads a value's gradient right after backward; only the inputs' and those that nothing
    /// has overwritten since are meaningful.
    ///
    /// # Errors
    /// [`Error::Usage`] for a value that no gradient flows to; those of the device.
    pub fn read_gradient(&self, id: NodeId) -> Result<Vec<f32>> {
        self.read_tensor(self.kept(id, "gradient", self.gradient(id))?)
    }

    /// The tensor, which must have memory; a value inside a launch never has.
    pub(super) fn kept(&self, id: NodeId, what: &str, tensor: Tensor) -> Result<Tensor> {
        if tensor.address != 0 {
            return Ok(tensor);
        }
        let name = &self.tape.node(id).name;
        Err(Error::usage(format!("the {what} of {name} isn't kept in this plan")))
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

    /// A value's memory; no image of it where it has no place.
    pub(super) fn value(&self, id: NodeId) -> Tensor {
        self.view(id, self.memory.values[id.0])
    }

    pub(super) fn gradient(&self, id: NodeId) -> Tensor {
        self.view(id, self.memory.gradients[id.0])
    }

    fn view(&self, id: NodeId, address: u64) -> Tensor {
        let spec = self.tape.node(id).spec;
        Tensor { address, spec, images: if address == 0 { 0 } else { spec.maps(self.capacity()) } }
    }
}
