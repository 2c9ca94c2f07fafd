use crate::ops::{Backward, Forward};
use crate::{Error, Result};
pub struct ScaleForwardArgs;
pub struct ScaleBackwardArgs;
pub fn forward(ctx: &mut Forward<'_>) -> Result<()> {
    Err(Error::Unsupported { op: "scale".into(), device: ctx.device.kind().to_string() })
}
pub fn backward(ctx: &mut Backward<'_>) -> Result<()> {
    Err(Error::Unsupported { op: "scale".into(), device: ctx.device.kind().to_string() })
}
