//! Addition: y = a + b, of two values of one shape; b may be a branch of stochastic depth.
//!
//! Stochastic depth (Huang et al., 2016), its "row" mode: while training y = a + b·m, where m is 0 with
//! probability p and 1/(1 − p) otherwise, one draw an image (so that NaN times 0 stays NaN, as in
//! PyTorch). The draw is word 0 of Philox4x32-10 with the counter (0, sample's low and high half,
//! epoch's low half) and, as key, the first eight bytes (little-endian) of SHA-256("add " + node's
//! name) XOR the seed; b is kept where the word is at least p·2³².

mod cpu;
mod cuda;

use super::{Op, Step, mask, passes};
use crate::tensor::{Region, Spec};
use crate::{Error, Result};

/// The sum of two values.
#[derive(Clone, Copy, Debug)]
pub struct Add {
    /// The probability of dropping the second.
    pub depth: f32,
}

impl Add {
    /// a + b.
    pub const fn new() -> Add {
        Add { depth: 0.0 }
    }

    /// a + b, where training drops an image's b with probability `p` in 0..1.
    pub const fn with_depth(p: f32) -> Add {
        Add { depth: p }
    }
}

impl Default for Add {
    fn default() -> Add {
        Add::new()
    }
}

// SAFETY: the passes stay within the views that these declarations ask for.
unsafe impl Op for Add {
    passes!("add", op => op);

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        if inputs[0] != inputs[1] {
            let (a, b) = (inputs[0].map, inputs[1].map);
            return Err(Error::shape("add", format!("{a} and {b} can't be added")));
        }
        mask::check("add", self.depth)?;
        Ok(inputs[0])
    }

    fn reach(&self, _input: usize, region: Region, _inputs: &[Spec], _output: &Spec) -> Region {
        region
    }

    fn step(&self) -> Option<Step> {
        Some(Step::Add)
    }
}
