//! Bits that flip in memory while training: in values as nodes have stored them, and in parameters for as long as the
//! passes of a batch take.

use std::collections::BTreeMap;

use super::armed::{FaultMemory, NodeFaults};
use super::{Execution, NodeId, ParamId, Weights};
use crate::Result;
use crate::device::Device;
use crate::fault::{FaultEntry, FaultTable, Site, SiteSpace};
use crate::number::BitMasks;
use crate::ops::memory_fault::{self, MemoryFaults, Pass};
use crate::tensor::Tensor;

/// Bits of one value that flip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BitFlip {
    /// Image of the batch, 0 of a parameter.
    pub image: usize,
    /// Of a node: in PyTorch's order. Of a parameter: as it is stored.
    pub element: usize,
    pub mask: u32,
}

/// A tensor in whose memory bits flip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FlipTarget {
    /// What a node stores, each time that it is run.
    Value(NodeId),
    /// A parameter.
    Param(ParamId),
}

/// The flips in effect, and memory that earlier ones leave for reuse.
#[derive(Default)]
pub(super) struct MemoryFlips {
    present: BTreeMap<FlipTarget, NodeFaults>,
    idle_memory: BTreeMap<FlipTarget, FaultMemory>,
}

impl MemoryFlips {
    /// Whether any bit flips now.
    pub fn any(&self) -> bool {
        !self.present.is_empty()
    }

    fn add(
        &mut self,
        device: &Device,
        target: FlipTarget,
        (name, values): (&str, Tensor),
        flips: &[BitFlip],
    ) -> Result<()> {
        // The site is `input`, since every reader of the value is to see the flip.
        let entry = |flip: &BitFlip| {
            let masks = BitMasks::flip(flip.mask);
            (flip.image, FaultEntry::at(Site::Input, flip.element as u64, 0, masks))
        };
        let entries: Vec<_> = flips.iter().map(entry).collect();
        let space = SiteSpace { elements: values.map().elements() as u64, k: [0, 1] };
        let table = FaultTable::of_sites(name, values.images, |_| Some(space), &entries)?;
        let kept = self.idle_memory.remove(&target);
        // With room for more, since other batches have other numbers of flips.
        let faults = NodeFaults::new(device, table, kept, 2 * flips.len())?;
        self.present.insert(target, faults);
        Ok(())
    }
}

impl Execution {
    /// Flips bits of a tensor until [`Execution::end_flips`]: of a node's value each time that it was stored, for
    /// whoever reads it, in forward and backward; of a parameter now. A target has one list of flips, no element twice.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] for an image or element outside of it; those of the device.
    pub fn flip(
        &mut self,
        weights: &mut Weights,
        target: FlipTarget,
        flips: &[BitFlip],
    ) -> Result<()> {
        weights.require_for(&self.tape, &self.device)?;
        let tape = self.tape.clone();
        match target {
            FlipTarget::Value(id) => {
                let node = tape.node(id);
                let values = Tensor { images: self.maps(node.spec), ..self.value(id) };
                self.flips.add(&self.device, target, (&node.name, values), flips)
            }
            FlipTarget::Param(id) => {
                let values = weights.tensor(id);
                let name = &tape.params()[id.0].name;
                self.flips.add(&self.device, target, (name, values), flips)?;
                self.run_flips(target, values, Pass::Hit)
            }
        }
    }

    /// Restores parameters, and ends all flips.
    ///
    /// # Errors
    /// Those of the device.
    pub fn end_flips(&mut self, weights: &mut Weights) -> Result<()> {
        weights.require_for(&self.tape, &self.device)?;
        for target in self.flips.present.keys() {
            if let FlipTarget::Param(id) = target {
                self.run_flips(*target, weights.tensor(*id), Pass::Undo)?;
            }
        }
        let MemoryFlips { present, idle_memory } = &mut self.flips;
        let done = std::mem::take(present).into_iter();
        idle_memory.extend(done.map(|(target, faults)| (target, faults.into_memory())));
        Ok(())
    }

    /// Flips what flips in a node's value, which was just stored.
    pub(super) fn flip_stored(&self, id: NodeId) -> Result<()> {
        self.run_flips(FlipTarget::Value(id), self.value(id), Pass::Hit)
    }

    fn run_flips(&self, target: FlipTarget, values: Tensor, pass: Pass) -> Result<()> {
        let Some(faults) = self.flips.present.get(&target) else { return Ok(()) };
        let faults = match target {
            // A value is computed anew.
            FlipTarget::Value(_) => MemoryFaults { saved: 0, ..faults.in_memory() },
            FlipTarget::Param(_) => faults.in_memory(),
        };
        // SAFETY: a value of this execution or a parameter of the weights, which nobody else uses now: they are borrowed
        // for good in training, where alone there are flips.
        unsafe { memory_fault::run(&self.device, faults, values, pass) }
    }
}
