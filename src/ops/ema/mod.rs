//! Exponential moving average of an arena: a = share·p + (1 − share)·a. No operation of the tape: it
//! runs once over all weights.

mod cpu;
mod cuda;

use crate::Result;
use crate::device::Device;

/// One update of `count` f32 at `averages` by those at `values`; `share` is the newcomers'.
///
/// # Safety
/// The arenas are memory of `device`, alive, apart from each other, and in nobody else's use.
pub unsafe fn update(
    device: &Device,
    averages: u64,
    values: u64,
    count: usize,
    share: f64,
) -> Result<()> {
    let (share, kept) = (share as f32, (1.0 - share) as f32);
    // SAFETY: the caller's.
    unsafe {
        if device.is_cpu() {
            cpu::update(averages, values, count, share, kept);
            return Ok(());
        }
        cuda::update(device, averages, values, count, share, kept)
    }
}
