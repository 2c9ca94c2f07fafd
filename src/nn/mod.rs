//! Layers made of operations, recorded under PyTorch's state-dict names.

mod builder;
mod head;

pub use crate::ops::activation::Activation;
pub use builder::{Builder, StemPool};
pub use head::{Head, HeadNodes};
