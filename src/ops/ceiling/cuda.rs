//! Arguments and grid of `kernels/gemm/ceiling.cu`.

use crate::Result;
use crate::device::args::CeilingFmaArgs;
use crate::device::{Buffer, Device};
use crate::ops::place::BLOCK;

/// A run of multiply-adds.
pub struct Fma {
    out: Buffer,
    blocks: u32,
    rounds: u32,
}

impl Fma {
    /// As large as fills the device for a while.
    pub fn new(device: &Device) -> Result<Fma> {
        let (blocks, rounds) = if device.host_memory() { (32, 200) } else { (132 * 8 * 4, 2000) };
        Ok(Fma { out: device.alloc(4 * (blocks * BLOCK[0]) as usize)?, blocks, rounds })
    }

    /// Operations of a launch; see the kernel.
    pub fn flops(&self) -> f64 {
        2.0 * 128.0 * f64::from(self.rounds) * f64::from(self.blocks * BLOCK[0])
    }

    pub fn launch(&self, device: &Device) -> Result<()> {
        let args = CeilingFmaArgs { out: self.out.address(), rounds: self.rounds, factor: 0.5 };
        // SAFETY: a float for each thread, in a buffer of its own.
        unsafe { device.launch("ceiling_fma_f32", ([self.blocks, 1, 1], BLOCK), &args) }
    }
}
