//! Kernels of this operation.

use super::AdaptiveAvgPool;
use crate::ops::{Backward, Forward};
use crate::{Error, Result};

fn unsupported(device: &crate::device::Device) -> Result<()> {
    Err(Error::Unsupported { op: "adaptive_avg_pool".into(), device: device.kind().to_string() })
}

pub fn forward(_: &AdaptiveAvgPool, ctx: &mut Forward<'_>) -> Result<()> {
    unsupported(ctx.device)
}

pub fn backward(_: &AdaptiveAvgPool, ctx: &mut Backward<'_>) -> Result<()> {
    unsupported(ctx.device)
}
