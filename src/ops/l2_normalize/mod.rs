//! L2 normalisation over channels: y = x / ‖x‖ at every pixel.
//!
//! ‖x‖² is a plain f32 sum in channel order that may overflow; then x/‖x‖ is 0. A zero vector gives
//! NaN. Nothing is added to the norm.

mod cpu;
mod cuda;

use super::{Op, SavedForBackward, passes};
use crate::tensor::{Region, Spec};

/// Division by the length.
#[derive(Clone, Copy, Debug)]
pub struct L2Normalize;

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for L2Normalize {
    passes!("l2_normalize");

    fn needs(&self) -> SavedForBackward {
        SavedForBackward { inputs: vec![true], output: true }
    }

    fn reach(&self, _input: usize, region: Region, _inputs: &[Spec], output: &Spec) -> Region {
        region.all_channels(output.map.channels)
    }
}
