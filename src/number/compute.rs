//! How convolutions and linear layers multiply.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

use super::Format;
use crate::Error;

/// The arithmetic of convolutions and linear layers. Values in memory and sums are always f32; only the
/// factors of products are rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[derive(Display, EnumIter, EnumString, IntoStaticStr)]
#[strum(serialize_all = "lowercase", parse_err_ty = Error, parse_err_fn = unknown)]
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
    /// The name on the command line and in records.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The format of the factors.
    pub const fn operands(self) -> Format {
        match self {
            Compute::Exact => Format::F32,
            Compute::Tf32 => Format::Tf32,
            Compute::Bf16 => Format::Bf16,
            Compute::F16 => Format::F16,
        }
    }
}

fn unknown(word: &str) -> Error {
    Error::unknown::<Compute>("compute", word)
}
