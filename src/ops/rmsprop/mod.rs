//! RMSprop (Hinton, Srivastava and Swersky, "Neural networks for machine learning", lecture 6e, 2012), in
//! PyTorch's formula or in TensorFlow's, which timm has as `RMSpropTF`. No operation of the tape: it runs once
//! over the arena of trained parameters.
//!
//! Both: g is the gradient with decay·p added; v = α·v + (1 − α)·g²; where it is centered (Graves, "Generating
//! sequences with recurrent neural networks", 2013) a += (1 − α)·(g − a) and w = v − a², at least 0, else w = v.
//! PyTorch's: s = g / (√w + ε); b = momentum·b + s; p −= rate·b, or rate·s without momentum. TensorFlow's
//! differs in three things: v begins with ones, the divisor is √(w + ε), and the rate stands inside of the
//! momentum, b = momentum·b + rate·s and p −= b, so that a new rate doesn't change what is under way already.

mod cpu;
mod cuda;

use super::arenas::MOMENTS;
use super::{Arenas, arenas};

/// The numbers of a step; the learning rate is in [`super::RunState`], decays, scales of the rate and clipping in
/// [`Arenas`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    /// α, what is kept of the averages in a step; f64, since 1 − α is taken of it before it is rounded.
    pub alpha: f64,
    /// ε, which keeps the divisor from zero.
    pub eps: f64,
    /// 0 for none.
    pub momentum: f32,
    /// Whether gradients are divided by their deviation rather than by the root of their mean square.
    pub centered: bool,
    /// Whether the formula is TensorFlow's, as timm's `RMSpropTF` has it by default.
    pub tensorflow: bool,
}

impl RmsProp {
    /// What it remembers, by PyTorch's names: momentum and the average of gradients only where they are asked for.
    pub const fn moments(&self) -> &'static [&'static str] {
        match (self.momentum > 0.0, self.centered) {
            (false, false) => &["square_avg"],
            (true, false) => &["square_avg", "momentum_buffer"],
            (false, true) => &["square_avg", "grad_avg"],
            (true, true) => &["square_avg", "momentum_buffer", "grad_avg"],
        }
    }

    /// What its first moment begins with; the others begin with zeros.
    pub const fn start(&self) -> f32 {
        if self.tensorflow { 1.0 } else { 0.0 }
    }

    /// v, b and a of what lies in the order of [`RmsProp::moments`].
    fn split<T: Copy>(&self, moments: [T; MOMENTS]) -> (T, Option<T>, Option<T>) {
        let [first, second, third] = moments;
        match (self.momentum > 0.0, self.centered) {
            (false, false) => (first, None, None),
            (true, false) => (first, Some(second), None),
            (false, true) => (first, None, Some(second)),
            (true, true) => (first, Some(second), Some(third)),
        }
    }

    /// α, 1 − α, ε as the passes use them.
    fn rounded(&self) -> [f32; 3] {
        [self.alpha, 1.0 - self.alpha, self.eps].map(|number| number as f32)
    }
}

arenas::step! {
    /// One step on `device`; the moments are those of [`RmsProp::moments`], begun as they say.
    RmsProp
}
