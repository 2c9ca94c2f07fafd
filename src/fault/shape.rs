//! Which elements of a layer's output one fault hits.

use strum::{Display, EnumIter, EnumString, IntoStaticStr};

use crate::Error;

/// Which elements of a layer's output are hit.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Display, EnumIter, EnumString, IntoStaticStr,
)]
#[strum(serialize_all = "lowercase", parse_err_ty = Error, parse_err_fn = unknown)]
pub enum Shape {
    /// The one that is named.
    #[default]
    Element,
    /// All channels of its pixel: row m of the GEMM view.
    Row,
    /// All pixels of its channel: column n of the GEMM view.
    Column,
    /// The kernel's tile around it.
    Tile,
}

fn unknown(word: &str) -> Error {
    Error::unknown::<Shape>("shape", word)
}
