use crate::ops::{Backward, Forward};
use crate::{Error, Result};
pub struct AddForwardArgs;
pub struct AddBackwardArgs;
pub fn forward(ctx: &mut Forward<'_>) -> Result<()> {
    Err(Error::Unsupported { op: "add".into(), device: ctx.device.kind().to_string() })
}
pub fn backward(ctx: &mut Backward<'_>) -> Result<()> {
    Err(Error::Unsupported { op: "add".into(), device: ctx.device.kind().to_string() })
}
