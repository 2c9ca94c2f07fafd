//! Layers made of operations, recorded under PyTorch's state-dict names.

mod builder;
mod head;

pub use builder::Builder;
pub use head::{HEAD_ROWS, Head, HeadNodes, LOGIT_SCALE, LastLayer};
