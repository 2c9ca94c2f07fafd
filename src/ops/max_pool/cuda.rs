//! Kernels of this operation.

use super::MaxPool;
use crate::ops::{Backward, Forward};
use crate::{Error, Result};

fn unsupported(device: &crate::device::Device) -> Result<()> {
    Err(Error::Unsupported { op: "max_pool".into(), device: device.kind().to_string() })
}

pub fn forward(_: &MaxPool, ctx: &mut Forward<'_>) -> Result<()> {
    unsupported(ctx.device)
}

pub fn backward(_: &MaxPool, ctx: &mut Backward<'_>) -> Result<()> {
    unsupported(ctx.device)
}
