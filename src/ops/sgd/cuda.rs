use super::{Arenas, Sgd};
use crate::device::Device;
use crate::{Error, Result};
pub struct SgdStepArgs;
pub fn step(device: &Device, _arenas: &Arenas, _state: u64, _options: &Sgd) -> Result<()> {
    Err(Error::Unsupported { op: "sgd".into(), device: device.kind().to_string() })
}
