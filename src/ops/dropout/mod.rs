//! Dropout (Srivastava et al., 2014), inverted: while training each element is multiplied by 0 with
//! probability p (so that NaN stays NaN, as in PyTorch), else by 1/(1 − p); otherwise y = x.
//!
//! The mask is a function of (seed, epoch, sample, node, element), the same bits on every device and
//! in every slot of a batch, so that backward draws it again instead of keeping it: word
//! `element % 4` of Philox4x32-10 with the counter (element / 4, sample's low and high half, epoch's
//! low half) and, as key, the first eight bytes (little-endian) of SHA-256("dropout " + node's name)
//! XOR the seed. An element is kept where its word is at least p·2³². Elements are counted within an
//! image in storage order (row, column, channel).

mod cpu;
mod cuda;

use super::{Op, mask, passes};
use crate::Result;
use crate::tensor::{Region, Spec};

/// Dropout with probability `p` in 0..1.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    pub p: f32,
}

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for Dropout {
    passes!("dropout", op => op);

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        mask::check("dropout", self.p)?;
        Ok(inputs[0])
    }

    fn reach(&self, _input: usize, region: Region, _inputs: &[Spec], _output: &Spec) -> Region {
        region
    }
}
