//! Softmax over the channels of each pixel: y = e^(x − m) / Σ e^(x − m), where m is the largest x.

mod cpu;
mod cuda;

use super::{Op, SavedForBackward, passes};
use crate::tensor::{Region, Spec};

/// Softmax over channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax;

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for Softmax {
    passes!("softmax");

    fn needs(&self) -> SavedForBackward {
        SavedForBackward { inputs: vec![false], output: true }
    }

    fn reach(&self, _input: usize, region: Region, _inputs: &[Spec], output: &Spec) -> Region {
        region.all_channels(output.map.channels)
    }
}
