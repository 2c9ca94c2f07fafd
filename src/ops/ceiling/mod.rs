//! What a device can do at most, to set kernels' times against: bytes copied and fused multiply-adds a
//! second. No operation of the tape.

mod cpu;
mod cuda;

use crate::Result;
use crate::device::Device;

/// The most that a device does, measured.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Ceilings {
    /// Bytes read and written by a copy within the device, in 1e9 a second.
    pub gb_per_s: f64,
    /// Operations of fused multiply-adds in f32 (two each), in 1e9 a second.
    pub gflop_per_s: f64,
}

/// Copies and multiply-adds are timed this often, and the best is taken: what disturbs only slows down.
const ROUNDS: usize = 7;

/// Measures the ceilings of a device: a copy that no cache holds and the fused multiply-adds of f32; on
/// the CPU with every thread of the pool.
///
/// # Errors
/// Those of the device.
pub fn measure(device: &Device) -> Result<Ceilings> {
    // Far beyond an H100's 50 MB of cache; the emulator's memory is the host's.
    let bytes: usize = if device.host_memory() { 64 << 20 } else { 1 << 30 };
    let (from, mut to) = (device.alloc(bytes)?, device.alloc(bytes)?);
    let copy = || {
        if device.is_cpu() {
            cpu::copy(&from, &mut to);
            return Ok(());
        }
        // SAFETY: two buffers of this function's own.
        unsafe { device.copy(from.address(), to.address(), bytes) }
    };
    let copy_ms = best_ms(device, copy)?;
    let (flops, fma_ms) = if device.is_cpu() {
        (
            cpu::flops(),
            best_ms(device, || {
                cpu::multiply_add();
                Ok(())
            })?,
        )
    } else {
        let run = cuda::Fma::new(device)?;
        (run.flops(), best_ms(device, || run.launch(device))?)
    };
    // 1e6 a millisecond is 1e9 a second.
    Ok(Ceilings {
        gb_per_s: 2.0 * bytes as f64 / (1e6 * copy_ms),
        gflop_per_s: flops / (1e6 * fma_ms),
    })
}

fn best_ms(device: &Device, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    // The first touches cold memory.
    for _ in 0..=ROUNDS {
        best = best.min(device.elapsed_ms(&mut work)?);
    }
    Ok(best)
}
