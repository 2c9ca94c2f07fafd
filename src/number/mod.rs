//! What a number is and how it breaks: formats and their fields, the arithmetic of products, bits as text and masks,
//! fault models.

mod compute;
mod field;
mod format;
mod model;
mod only_bits;

pub use compute::Compute;
pub use field::Field;
pub use format::Format;
pub use model::{BitMasks, FaultModel, bits_text, canonical, parse_bits};
pub use only_bits::OnlyBits;
