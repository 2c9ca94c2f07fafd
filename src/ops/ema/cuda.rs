//! Arguments and grid of `kernels/optim/ema.cu`.

use crate::Result;
use crate::device::Device;
use crate::device::args::EmaUpdateArgs;
use crate::ops::place;

/// # Safety
/// As the operation's own [`update`](super::update).
pub unsafe fn update(
    device: &Device,
    averages: u64,
    values: u64,
    count: usize,
    share: f32,
    kept: f32,
) -> Result<()> {
    if count == 0 {
        return Ok(());
    }
    let args = EmaUpdateArgs { averages, values, count: count as u64, share, kept };
    // SAFETY: the caller's.
    unsafe { device.launch("ema_update_f32", place::quad_grid(count), &args) }
}
