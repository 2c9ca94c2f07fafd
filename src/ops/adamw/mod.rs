//! AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019), in PyTorch's formula
//! and order: p ·= 1 − rate·decay; m += (1 − β₁)·(g − m); v = β₂·v + (1 − β₂)·g²; p −= (rate / c₁) ·
//! m / (√v / √c₂ + ε) with the bias corrections c = 1 − β^t, t the steps counted from 1. No operation
//! of the tape: it runs once over the arena of trained parameters.

mod cpu;
mod cuda;

use super::{Arenas, RunState, arenas};

/// The numbers of a step; learning rate and bias corrections are in [`RunState`], decays, scales of
/// the rate and clipping in [`Arenas`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// β₁ and β₂; f64, since 1 − β is taken of them before it is rounded.
    pub betas: [f64; 2],
    /// ε, which keeps the divisor from zero.
    pub eps: f64,
}

impl AdamW {
    /// `state` with the bias corrections of its step.
    pub fn correct(&self, state: RunState) -> RunState {
        let t = f64::from(state.step) + 1.0;
        let [first, second] = self.betas.map(|beta| 1.0 - beta.powf(t));
        RunState {
            bias_correction1: first as f32,
            sqrt_bias_correction2: second.sqrt() as f32,
            ..state
        }
    }

    /// 1 − β₁, β₂, 1 − β₂, ε as the passes use them.
    fn rounded(&self) -> [f32; 4] {
        let [beta1, beta2] = self.betas;
        [1.0 - beta1, beta2, 1.0 - beta2, self.eps].map(|number| number as f32)
    }
}

arenas::step! {
    /// One step on `device`; m and v are the moments, zeros before step 0. [`AdamW::correct`] has completed
    /// the state.
    AdamW
}
