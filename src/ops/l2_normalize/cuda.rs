use crate::ops::{Backward, Forward};
use crate::{Error, Result};
pub struct L2NormalizeForwardArgs;
pub struct L2NormalizeBackwardArgs;
pub fn forward(ctx: &mut Forward<'_>) -> Result<()> {
    Err(Error::Unsupported { op: "l2_normalize".into(), device: ctx.device.kind().to_string() })
}
pub fn backward(ctx: &mut Backward<'_>) -> Result<()> {
    Err(Error::Unsupported { op: "l2_normalize".into(), device: ctx.device.kind().to_string() })
}
