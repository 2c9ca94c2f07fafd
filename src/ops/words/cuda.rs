//! Arguments and grid of `kernels/fault/words.cu`.

use crate::Result;
use crate::device::args::{WordsHitArgs, WordsReadArgs};
use crate::device::{Device, LaunchConfig};

/// Words of a block.
const THREADS: u32 = 64;

fn grid(count: usize) -> LaunchConfig {
    ([count.div_ceil(THREADS as usize) as u32, 1, 1], [THREADS, 1, 1])
}

/// # Safety
/// As [`super::read`].
pub unsafe fn read(device: &Device, addresses: u64, out: u64, count: usize) -> Result<()> {
    if count == 0 {
        return Ok(());
    }
    let args = WordsReadArgs { addresses, out, count: count as u64 };
    // SAFETY: the caller's.
    unsafe { device.launch("words_read_u32", grid(count), &args) }
}

/// # Safety
/// As [`super::WordFaults::hit`], of `count` hits at `faults`.
pub unsafe fn hit(device: &Device, faults: u64, count: usize) -> Result<()> {
    // SAFETY: the caller's.
    unsafe { over(device, "words_hit_f32", faults, count) }
}

/// # Safety
/// As [`super::WordFaults::undo`], of `count` hits at `faults`.
pub unsafe fn undo(device: &Device, faults: u64, count: usize) -> Result<()> {
    // SAFETY: the caller's.
    unsafe { over(device, "words_undo_u32", faults, count) }
}

/// # Safety
/// As [`hit`] or [`undo`], whichever `kernel` is.
unsafe fn over(device: &Device, kernel: &'static str, faults: u64, count: usize) -> Result<()> {
    if count == 0 {
        return Ok(());
    }
    let args = WordsHitArgs { faults, count: count as u64 };
    // SAFETY: the caller's.
    unsafe { device.launch(kernel, grid(count), &args) }
}
