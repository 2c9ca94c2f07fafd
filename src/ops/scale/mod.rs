//! Multiplication by exp(s) of a trained scalar s, CLIP's `logit_scale` (Radford et al., 2021):
//! y = x · exp(s). The exponential is taken in f64 and rounded once.

mod cpu;
mod cuda;

use std::fmt;

use super::{Init, Op, ParamSpec, PassBytes, Role, SavedForBackward, Sites, passes};
use crate::tensor::{Region, Spec};

/// The logit scale.
#[derive(Clone, Copy)]
pub struct LogitScale {
    /// What s starts from: the logarithm of the first scale.
    pub start: f32,
}

impl Default for LogitScale {
    /// CLIP's, for cosines: ln(1/0.07), a scale of 14.3.
    fn default() -> LogitScale {
        LogitScale { start: CLIP_START }
    }
}

/// As `Scale`, an earlier name: the identifiers of shapes in `bench kernels` are digests of this text.
impl fmt::Debug for LogitScale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scale")
    }
}

/// ln(1/0.07).
const CLIP_START: f32 = 2.659_26;

/// exp(s): what values are multiplied by.
pub(crate) fn factor(s: f32) -> f32 {
    f64::from(s).exp() as f32
}

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for LogitScale {
    passes!("scale");

    fn params(&self) -> Vec<ParamSpec> {
        vec![ParamSpec::plain("logit_scale", vec![], Role::Scale, Init::Constant(self.start))]
    }

    fn needs(&self) -> SavedForBackward {
        SavedForBackward { inputs: vec![false], output: true }
    }

    /// Partial sums of the scalar's gradient.
    fn bytes(&self, _inputs: &[Spec], _batch: usize, training: bool) -> PassBytes {
        PassBytes { saved: 0, workspace: if training { cuda::WORKSPACE_BYTES } else { 0 } }
    }

    fn reach(&self, _input: usize, region: Region, _inputs: &[Spec], _output: &Spec) -> Region {
        region
    }

    fn sites(&self, inputs: &[Spec]) -> Sites {
        Sites::Output { map: inputs[0].map }
    }
}
