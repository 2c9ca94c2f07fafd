//! Activations: functions of one number. Each is an operation of its own kind with kernels of its
//! name; ReLU and ReLU6 keep NaN, as PyTorch's do. CPU and kernels agree to the bit.

mod cpu;
mod cuda;

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use super::{Op, SavedForBackward, Step, passes};
use crate::tensor::{Region, Spec};

pub use cpu::apply;

/// A nonlinearity; σ(x) = 1 / (1 + e^−x), Φ is the normal distribution function.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Activation {
    /// max(x, 0)
    #[default]
    Relu,
    /// min(max(x, 0), 6)
    Relu6,
    /// x · σ(x) (Elfwing et al., 2018)
    Silu,
    /// x · Φ(x) (Hendrycks and Gimpel, 2016), PyTorch's `GELU`
    Gelu,
    /// x · σ(2·√(2/π)·(x + 0.044715·x³)), PyTorch's `GELU` with `approximate="tanh"`
    GeluTanh,
    /// σ(x)
    Sigmoid,
    /// x · σ(1.702·x), CLIP's
    QuickGelu,
    /// tanh(x)
    Tanh,
    /// min(max(x + 3, 0), 6) / 6 (Courbariaux et al., 2015), PyTorch's `Hardsigmoid`
    HardSigmoid,
    /// x · min(max(x + 3, 0), 6) / 6 (Howard et al., 2019), PyTorch's `Hardswish`
    HardSwish,
}

impl Activation {
    /// All of them.
    pub const ALL: [Activation; 10] = [
        Activation::Relu,
        Activation::Relu6,
        Activation::Silu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Sigmoid,
        Activation::QuickGelu,
        Activation::Tanh,
        Activation::HardSigmoid,
        Activation::HardSwish,
    ];

    /// Whether backward reads the output, otherwise the input.
    const fn keeps_output(self) -> bool {
        matches!(
            self,
            Activation::Relu | Activation::Relu6 | Activation::Sigmoid | Activation::Tanh
        )
    }
}

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for Activation {
    fn kind(&self) -> &'static str {
        self.into()
    }

    fn needs(&self) -> SavedForBackward {
        SavedForBackward { inputs: vec![!self.keeps_output()], output: self.keeps_output() }
    }

    fn reach(&self, _input: usize, region: Region, _inputs: &[Spec], _output: &Spec) -> Region {
        region
    }

    fn step(&self) -> Option<Step> {
        Some(Step::Activate(*self))
    }

    passes!(op => *op);
}
