//! Single words of a device's memory by their addresses: reading, hitting and restoring. No operation of the tape:
//! it reads the golden values that faults hit, and hits copies of parameters.

mod cpu;
mod cuda;

use bytemuck::{Pod, Zeroable};

use crate::Result;
use crate::device::{Buffer, Device};
use crate::number::BitMasks;

/// A hit of a word, as it lies in device memory (`WordFault` of `kernels/fault/words.cu`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct WordFault {
    /// Of an f32.
    pub address: u64,
    and_mask: u32,
    or_mask: u32,
    xor_mask: u32,
    /// What was there, once it was hit.
    before: u32,
}

impl WordFault {
    /// A hit of the f32 at `address` of a device.
    pub fn new(address: u64, masks: BitMasks) -> WordFault {
        let BitMasks { and, or, xor } = masks;
        WordFault { address, and_mask: and, or_mask: or, xor_mask: xor, before: 0 }
    }

    fn masks(&self) -> BitMasks {
        BitMasks { and: self.and_mask, or: self.or_mask, xor: self.xor_mask }
    }
}

/// Hits of words, side by side where they are of one word. What was there is kept with them.
#[derive(Debug)]
pub struct WordFaults {
    /// On the device; the host's where that runs native code.
    memory: Buffer,
    count: usize,
}

impl WordFaults {
    /// Puts hits into `memory`, which grows where it is too small. Of those of one word the order stays.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(device: &Device, mut hits: Vec<WordFault>, memory: Option<Buffer>) -> Result<Self> {
        hits.sort_by_key(|hit| hit.address);
        let bytes = size_of_val(hits.as_slice());
        let mut memory = match memory.filter(|memory| memory.bytes() >= bytes) {
            Some(memory) => memory,
            None => device.alloc(bytes.next_power_of_two())?,
        };
        memory.write(0, bytemuck::cast_slice(&hits))?;
        Ok(WordFaults { memory, count: hits.len() })
    }

    /// Its memory, for hits to come.
    pub fn into_memory(self) -> Buffer {
        self.memory
    }

    /// Hits all of them.
    ///
    /// # Safety
    /// Each address is that of a word of the device's memory, which nobody else uses until this has happened.
    ///
    /// # Errors
    /// Those of the device.
    pub unsafe fn hit(&self) -> Result<()> {
        let device = self.memory.device();
        // SAFETY: the caller's; as many hits lie in the memory.
        unsafe {
            match device.is_cpu() {
                true => cpu::hit(self.memory.address(), self.count),
                false => cuda::hit(device, self.memory.address(), self.count)?,
            }
        }
        Ok(())
    }

    /// Puts back what was there when they were hit.
    ///
    /// # Safety
    /// As [`WordFaults::hit`], which was called before.
    ///
    /// # Errors
    /// Those of the device.
    pub unsafe fn undo(&self) -> Result<()> {
        let device = self.memory.device();
        // SAFETY: as above.
        unsafe {
            match device.is_cpu() {
                true => cpu::undo(self.memory.address(), self.count),
                false => cuda::undo(device, self.memory.address(), self.count)?,
            }
        }
        Ok(())
    }
}

/// Copies the words at `count` addresses, which lie at `addresses`, to `out`.
///
/// # Safety
/// There are so many addresses, each of a word of the device's memory, and as much room; nobody else writes them until
/// this has happened.
///
/// # Errors
/// Those of the device.
pub unsafe fn read(device: &Device, addresses: u64, out: u64, count: usize) -> Result<()> {
    // SAFETY: the caller's.
    unsafe {
        match device.is_cpu() {
            true => cpu::read(addresses, out, count),
            false => cuda::read(device, addresses, out, count)?,
        }
    }
    Ok(())
}
