//! Unary functions that have parameters, or are rarer than activations. They have one
//! kernel for each pass, which is told which function to compute, and are no step of an epilogue. NaN stays
//! NaN, and derivatives at kinks are PyTorch's. CPU and kernels agree to the bit.

mod cpu;
mod cuda;

use strum::IntoStaticStr;

use super::{Op, SavedForBackward, passes};
use crate::tensor::{Region, Spec};

/// A function of one number, element by element.
#[derive(Clone, Copy, Debug, PartialEq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Unary {
    /// x where x ≥ 0, slope · x elsewhere
    LeakyRelu { slope: f32 },
    /// min(max(x, low), high)
    Clip { low: f32, high: f32 },
    /// x where x > 0, alpha · (e^x − 1) elsewhere (Clevert et al., 2015)
    Elu { alpha: f32 },
    /// gamma · ELU: gamma · x where x > 0, gamma · alpha · (e^x − 1) elsewhere (Klambauer et al., 2017)
    Selu { alpha: f32, gamma: f32 },
    /// min(max(slope · x + shift, 0), 1), ONNX's `HardSigmoid`
    HardSigmoid { slope: f32, shift: f32 },
    /// ln(1 + e^x)
    Softplus,
    /// x / (1 + |x|)
    Softsign,
    /// x · tanh(ln(1 + e^x)) (Misra, 2019)
    Mish,
    /// 2/√π · ∫ e^(−t²) from 0 to x
    Erf,
    /// √x, NaN below 0
    Sqrt,
    /// e^x
    Exp,
    /// ln(x), −∞ of 0 and NaN below
    Log,
    /// 1 / x
    Reciprocal,
    /// |x|
    Abs,
}

impl Unary {
    /// Each of them, by numbers that tests and benchmarks use.
    pub(crate) const EXAMPLES: [Unary; 14] = [
        Unary::LeakyRelu { slope: 0.01 },
        Unary::Clip { low: -0.25, high: 0.6 },
        Unary::Elu { alpha: 1.5 },
        Unary::Selu { alpha: 1.673_263_2, gamma: 1.050_701 },
        Unary::HardSigmoid { slope: 1.5, shift: 0.25 },
        Unary::Softplus,
        Unary::Softsign,
        Unary::Mish,
        Unary::Erf,
        Unary::Sqrt,
        Unary::Exp,
        Unary::Log,
        Unary::Reciprocal,
        Unary::Abs,
    ];

    /// Whether backward reads the output, otherwise the input.
    const fn keeps_output(self) -> bool {
        matches!(self, Unary::Sqrt | Unary::Exp | Unary::Reciprocal)
    }
}

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for Unary {
    fn kind(&self) -> &'static str {
        self.into()
    }

    fn needs(&self) -> SavedForBackward {
        SavedForBackward { inputs: vec![!self.keeps_output()], output: self.keeps_output() }
    }

    fn reach(&self, _input: usize, region: Region, _inputs: &[Spec], _output: &Spec) -> Region {
        region
    }

    passes!(op => *op);
}
