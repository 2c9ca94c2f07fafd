//! Faults of values that lie in memory: a layer's input, as every node reads it from that layer on, and
//! a misdirected store. No operation of the tape: it runs before or after a layer's.

mod cpu;
mod cuda;

use crate::Result;
use crate::device::Device;
use crate::fault::FaultTable;
use crate::tensor::Tensor;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Hits the faults of the site `input`.
    Hit,
    /// Takes that back.
    Undo,
    /// Misdirects stores.
    Astray,
}

/// Faults in memory.
#[derive(Clone, Copy, Debug)]
pub struct MemoryFaults<'a> {
    pub table: &'a FaultTable,
    /// The table's bytes on the device; 0 on the CPU.
    pub address: u64,
    /// An f32 a fault on the device, for [`Pass::Undo`].
    pub saved: u64,
}

/// Runs one pass over the first images of `values`.
///
/// # Safety
/// `values` is memory of `device` that nobody else uses, of at least as many images as the table has, in whose map the
/// table's elements lie. The address in `faults` is that table's. `saved` has an f32 of the device's for every entry of
/// the table, whichever its site, or is 0 for passes that can't be undone; before [`Pass::Undo`] there was a
/// [`Pass::Hit`] with the same `saved`.
pub unsafe fn run(
    device: &Device,
    faults: MemoryFaults<'_>,
    values: Tensor,
    pass: Pass,
) -> Result<()> {
    // SAFETY: the caller's.
    unsafe {
        if device.is_cpu() {
            cpu::run(faults, values, pass);
            return Ok(());
        }
        cuda::run(device, faults, values, pass)
    }
}
