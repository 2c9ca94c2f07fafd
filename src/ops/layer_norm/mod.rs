//! Layer normalisation (Ba et al., 2016) over the channels of each pixel:
//! y = (x − mean)/√(var + eps) · weight + bias, with the biased variance.
//!
//! Sums are f32, lane by lane of a tile of channels and then over the lanes: an order that depends on
//! the number of channels alone. The mean is corrected by what its differences add up to, so that the
//! figures hold for a mean far from zero, too.

mod cpu;
mod cuda;

use super::{Init, Op, ParamSpec, PassBytes, Role, SavedForBackward, passes};
use crate::tensor::{Region, Spec};
use crate::{Error, Result};

/// Layer normalisation of `channels` channels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    pub channels: usize,
    /// Added to the variance.
    pub eps: f32,
}

const WEIGHT: usize = 0;
const BIAS: usize = 1;

impl LayerNorm {
    /// With an `eps` of 1e-5, PyTorch's default.
    pub const fn new(channels: usize) -> LayerNorm {
        LayerNorm { channels, eps: 1e-5 }
    }
}

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for LayerNorm {
    passes!("layer_norm", op => op);

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let map = inputs[0].map;
        if map.channels != self.channels || self.channels == 0 {
            let detail = format!("expects {} channels, the input is {map}", self.channels);
            return Err(Error::shape("layer_norm", detail));
        }
        Ok(inputs[0])
    }

    fn params(&self) -> Vec<ParamSpec> {
        let param = |name, value| {
            ParamSpec::plain(name, vec![self.channels], Role::Norm, Init::Constant(value))
        };
        vec![param("weight", 1.0), param("bias", 0.0)]
    }

    fn needs(&self) -> SavedForBackward {
        SavedForBackward { inputs: vec![true], output: false }
    }

    /// Mean and 1/√(var + eps) of each pixel are saved; partial sums of the parameters' gradients are scratch.
    fn bytes(&self, inputs: &[Spec], batch: usize, training: bool) -> PassBytes {
        PassBytes {
            saved: inputs[0].maps(batch) * inputs[0].map.pixels() * 2 * size_of::<f32>(),
            workspace: if training { cuda::workspace_bytes(self.channels) } else { 0 },
        }
    }

    fn reach(&self, _input: usize, region: Region, _inputs: &[Spec], output: &Spec) -> Region {
        region.all_channels(output.map.channels)
    }
}
