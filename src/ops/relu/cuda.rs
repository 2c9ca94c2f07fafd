use crate::ops::{Backward, Forward};
use crate::{Error, Result};
pub struct ReluForwardArgs;
pub struct ReluBackwardArgs;
pub fn forward(ctx: &mut Forward<'_>) -> Result<()> {
    Err(Error::Unsupported { op: "relu".into(), device: ctx.device.kind().to_string() })
}
pub fn backward(ctx: &mut Backward<'_>) -> Result<()> {
    Err(Error::Unsupported { op: "relu".into(), device: ctx.device.kind().to_string() })
}
