//! Arguments and grid of `kernels/fault/memory_fault.cu`.

use super::{MemoryFaults, Pass};
use crate::Result;
use crate::device::Device;
use crate::device::args::MemoryFaultArgs;
use crate::tensor::Tensor;

/// # Safety
/// As the operation's own [`run`](super::run).
pub unsafe fn run(
    device: &Device,
    faults: MemoryFaults<'_>,
    values: Tensor,
    pass: Pass,
) -> Result<()> {
    let images = faults.table.images() as u32;
    let args = MemoryFaultArgs {
        values: values.address,
        faults: faults.address,
        saved: faults.saved,
        images,
        pixels: values.map().pixels() as u32,
        channels: values.map().channels as u32,
    };
    let kernel = match pass {
        Pass::Hit => "memory_fault_hit_f32",
        Pass::Undo => "memory_fault_undo_f32",
        Pass::Astray => "memory_fault_astray_f32",
    };
    // SAFETY: the caller's.
    unsafe { device.launch(kernel, ([images.div_ceil(32).max(1), 1, 1], [32, 1, 1]), &args) }
}
