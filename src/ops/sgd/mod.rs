//! Stochastic gradient descent with momentum, Nesterov's too, and weight decay, in PyTorch's
//! formula: d = g + decay·p; b = d in step 0, else momentum·b + d; the step is d + momentum·b
//! (Nesterov) or b; p −= rate·step. No operation of the tape: it runs once over the arena of trained
//! parameters.

mod cpu;
mod cuda;

use super::{Arenas, arenas};

/// The numbers of a step; learning rate and step are in [`super::RunState`], decays, scales of the rate and
/// clipping in [`Arenas`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    pub momentum: f32,
    pub nesterov: bool,
}

arenas::step! {
    /// One step on `device`; b is the first moment.
    Sgd
}
