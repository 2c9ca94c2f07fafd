//! Arguments and grid of `kernels/ema.cu`.

use crate::Result;
use crate::device::Device;
use crate::device::args::EmaUpdateArgs;
use crate::ops::place;

pub fn update(
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
    device.launch("ema_update_f32", place::quad_grid(count), place::BLOCK, &args)
}
