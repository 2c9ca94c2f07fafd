//! Single values and entries of parameters, read without the rest of them; and values that are read later.

use super::{Execution, NodeId, ParamId, Weights};
use crate::device::{Buffer, Device, Download};
use crate::ops::words;
use crate::{Error, Result};

/// A word of 4 bytes that a pass reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordPlace {
    /// Of a node's value. `image` has no meaning where the value is one for all images.
    Value {
        node: NodeId,
        image: usize,
        /// In PyTorch's order.
        element: usize,
    },
    /// An entry of a parameter, as it is without faults.
    Param {
        param: ParamId,
        /// In PyTorch's order.
        index: usize,
    },
}

/// Memory on the device for reading words.
#[derive(Default)]
pub(super) struct WordMemory {
    addresses: Option<Buffer>,
    words: Option<Buffer>,
}

/// The fewest bytes of it, for a few hundred words.
const SMALLEST: usize = 4 << 10;

/// Memory of at least `bytes`: what is kept or, where that is too small, more.
fn room<'a>(kept: &'a mut Option<Buffer>, device: &Device, bytes: usize) -> Result<&'a mut Buffer> {
    let fits = kept.as_ref().is_some_and(|buffer| buffer.bytes() >= bytes);
    if !fits {
        *kept = None;
    }
    match kept {
        Some(buffer) => Ok(buffer),
        none => Ok(none.insert(device.alloc(bytes.next_power_of_two().max(SMALLEST))?)),
    }
}

impl Execution {
    /// Queues the reading of words as they are now: one small copy to the device, one launch, one small copy back, whatever
    /// they are words of. Waiting for the download gives the bits of each (`u32`), in the order of `places`.
    ///
    /// # Errors
    /// [`Error::Usage`] for a value that isn't kept, for places outside of theirs, and for weights on another device; those
    /// of the device.
    pub fn read_words(&mut self, weights: &Weights, places: &[WordPlace]) -> Result<Download> {
        weights.require_for(&self.tape, &self.device)?;
        let addresses = places.iter().map(|place| self.address_of(weights, *place));
        let addresses: Vec<u64> = addresses.collect::<Result<_>>()?;
        let (count, device) = (addresses.len(), self.device.clone());
        let words = room(&mut self.words.words, &device, 4 * count)?.address();
        let buffer = room(&mut self.words.addresses, &device, 8 * count)?;
        buffer.write(0, bytemuck::cast_slice(&addresses))?;
        // SAFETY: words of values and parameters, by addresses that were just checked; both buffers have room for as many,
        // and only what is queued on the device writes any of it.
        unsafe {
            words::read(&device, buffer.address(), words, count)?;
            device.read_later(words, 4 * count)
        }
    }

    /// Where a word lies.
    fn address_of(&self, weights: &Weights, place: WordPlace) -> Result<u64> {
        let within = |name: &str, what: &str, at: usize, count: usize| {
            let detail = || format!("'{name}' has no {what} {at}: there are {count}");
            if at < count { Ok(()) } else { Err(Error::usage(detail())) }
        };
        match place {
            WordPlace::Value { node: id, image, element } => {
                let node = self.tape.node(id);
                let (spec, map) = (node.spec, node.spec.map);
                within(&node.name, "element", element, map.elements())?;
                within(&node.name, "image", image, self.images())?;
                let image = if spec.shared { 0 } else { image };
                let values = self.kept(id, "value", self.value(id))?;
                let at = image * map.elements() + map.memory_index(element);
                Ok(values.address + 4 * at as u64)
            }
            WordPlace::Param { param: id, index } => {
                let param = &self.tape.params()[id.0];
                within(&param.name, "entry", index, param.spec.elements())?;
                let at = param.spec.layout.stored_index(&param.spec.shape, index);
                Ok(weights.tensor(id).address + 4 * at as u64)
            }
        }
    }

    /// As [`Execution::read`], but queued: waiting for the download gives the values (`f32`) as they are now, whatever is
    /// queued behind it.
    ///
    /// # Errors
    /// As there.
    pub fn read_later(&self, id: NodeId) -> Result<Download> {
        let tensor = self.kept(id, "value", self.value(id))?;
        let count = self.maps(tensor.spec) * tensor.map().elements();
        // SAFETY: the slot holds `capacity` ≥ `images` maps, and what this execution queues alone writes it.
        unsafe { self.device.read_later(tensor.address, 4 * count) }
    }
}
