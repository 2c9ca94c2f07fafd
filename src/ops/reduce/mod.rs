//! One number of the channels of each pixel: their mean, sum, maximum or length. Sums are taken in tiles of
//! channels, a chain a lane, then over the lanes in a tree. CPU and kernels agree to the bit.

mod cpu;
mod cuda;

use super::{Op, SavedForBackward, passes};
use crate::Result;
use crate::tensor::{Map, Region, Spec};

/// What a pixel's channels become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// Σ x / their number
    Mean,
    /// Σ x
    Sum,
    /// The largest; NaN if there is one. Backward gives equal ones equal shares, as PyTorch's `amax`.
    Max,
    /// √Σ x², whose gradient at 0 is 0
    L2,
}

impl Reduce {
    /// All of them.
    pub const ALL: [Reduce; 4] = [Reduce::Mean, Reduce::Sum, Reduce::Max, Reduce::L2];
}

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for Reduce {
    fn kind(&self) -> &'static str {
        match self {
            Reduce::Mean => "reduce_mean",
            Reduce::Sum => "reduce_sum",
            Reduce::Max => "reduce_max",
            Reduce::L2 => "reduce_l2",
        }
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        Ok(Spec::f32(Map { channels: 1, ..inputs[0].map }))
    }

    fn needs(&self) -> SavedForBackward {
        let both = matches!(self, Reduce::Max | Reduce::L2);
        SavedForBackward { inputs: vec![both], output: both }
    }

    fn reach(&self, _input: usize, region: Region, _inputs: &[Spec], output: &Spec) -> Region {
        region.all_channels(output.map.channels)
    }

    passes!(op => *op);
}
