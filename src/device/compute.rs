//! How convolutions and linear layers multiply.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// The arithmetic of convolutions and linear layers. Values lie in memory as f32 whichever it is, and
/// sums are f32; it is the factors that are rounded.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Compute {
    /// f32, in one order: the same bits on every device.
    #[default]
    Exact,
    /// Tensor cores; factors have 11 bits of precision and f32's range.
    Tf32,
    /// Tensor cores; factors have 8 bits of precision and f32's range.
    Bf16,
    /// Tensor cores; factors are IEEE halves: 11 bits of precision, 65504 the largest.
    F16,
}

impl Compute {
    /// All of them.
    pub const ALL: [Compute; 4] = [Compute::Exact, Compute::Tf32, Compute::Bf16, Compute::F16];

    /// The name on the command line and in records.
    pub const fn name(self) -> &'static str {
        match self {
            Compute::Exact => "exact",
            Compute::Tf32 => "tf32",
            Compute::Bf16 => "bf16",
            Compute::F16 => "f16",
        }
    }
}

impl fmt::Display for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Compute {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Compute::ALL.into_iter().find(|compute| compute.name() == text).ok_or_else(|| {
            let known = Compute::ALL.map(Compute::name).join(", ");
            Error::usage(format!("there is no compute `{text}`: say one of {known}"))
        })
    }
}
