//! Kernels of this operation.

use super::AvgPool;
use crate::ops::{Backward, Forward};
use crate::{Error, Result};

fn unsupported(device: &crate::device::Device) -> Result<()> {
    Err(Error::Unsupported { op: "avg_pool".into(), device: device.kind().to_string() })
}

pub fn forward(_: &AvgPool, ctx: &mut Forward<'_>) -> Result<()> {
    unsupported(ctx.device)
}

pub fn backward(_: &AvgPool, ctx: &mut Backward<'_>) -> Result<()> {
    unsupported(ctx.device)
}
