//! Kernels of this operation.

use super::BatchNorm;
use crate::ops::{Backward, Forward};
use crate::{Error, Result};

fn unsupported(device: &crate::device::Device) -> Result<()> {
    Err(Error::Unsupported { op: "batch_norm".into(), device: device.kind().to_string() })
}

pub fn workspace_bytes(_channels: usize) -> usize {
    0
}
pub fn forward(_: &BatchNorm, ctx: &mut Forward<'_>) -> Result<()> {
    unsupported(ctx.device)
}

pub fn backward(_: &BatchNorm, ctx: &mut Backward<'_>) -> Result<()> {
    unsupported(ctx.device)
}
