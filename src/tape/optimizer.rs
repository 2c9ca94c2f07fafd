//! An optimiser of the trained parameters: its rule, its memory, its weight decays, its clipping.

use super::{ParamId, Weights};
use crate::device::{Buffer, Device};
use crate::ops::adamw::{self, AdamW};
use crate::ops::arenas::DECAY_BLOCK;
use crate::ops::grad_norm::{self, GradNorm};
use crate::ops::sgd::{self, Sgd};
use crate::ops::{Arenas, ParamSpec, RunState};
use crate::{Error, Result};

/// How a step moves parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    Sgd(Sgd),
    AdamW(AdamW),
}

impl Rule {
    /// What it remembers of each parameter, by PyTorch's names.
    pub const fn moments(&self) -> &'static [&'static str] {
        match self {
            Rule::Sgd(_) => &["momentum_buffer"],
            Rule::AdamW(_) => &["exp_avg", "exp_avg_sq"],
        }
    }

    /// What a step number `step` (from 0) of the run reads: to be completed with the rest and given
    /// to [`super::Execution::begin_training`].
    pub fn state(&self, step: u32, learning_rate: f32) -> RunState {
        let state = RunState { step, learning_rate, ..RunState::default() };
        match self {
            Rule::Sgd(_) => state,
            Rule::AdamW(options) => options.correct(state),
        }
    }
}

/// A rule with its memory on one device; [`super::Execution::update`] takes the steps.
pub struct Optimizer {
    rule: Rule,
    /// Arenas like the front of the weights', in the order of [`Rule::moments`].
    moments: Vec<Buffer>,
    /// One f32 for [`DECAY_BLOCK`] parameters.
    decays: Buffer,
    clipping: Option<Clipping>,
}

struct Clipping {
    max_norm: f32,
    workspace: Buffer,
}

impl Optimizer {
    /// An optimiser before its first step, for `weights`. `decay` gives each trained parameter's
    /// weight decay; gradients are clipped to a norm of `max_norm`, all together, if there is one.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(
        weights: &Weights,
        rule: Rule,
        decay: impl Fn(&ParamSpec) -> f32,
        max_norm: Option<f32>,
    ) -> Result<Self> {
        let (device, bytes) = (weights.device(), weights.trained_bytes());
        let count = bytes / size_of::<f32>();
        let moments = rule.moments().iter().map(|_| device.alloc(bytes)).collect::<Result<_>>()?;
        let mut table = vec![0f32; count.div_ceil(DECAY_BLOCK)];
        for (index, param) in weights.tape().params().iter().enumerate() {
            if param.is_trained() {
                let slot = weights.slot(ParamId(index));
                let block = size_of::<f32>() * DECAY_BLOCK;
                let blocks = slot.offset / block..(slot.offset + slot.bytes).div_ceil(block);
                table[blocks].fill(decay(&param.spec));
            }
        }
        let mut decays = device.alloc(size_of_val(table.as_slice()))?;
        decays.write(0, bytemuck::cast_slice(&table))?;
        let clipping = match max_norm {
            None => None,
            Some(max_norm) => {
                let workspace = device.alloc(grad_norm::workspace_bytes(count))?;
                Some(Clipping { max_norm, workspace })
            }
        };
        Ok(Optimizer { rule, moments, decays, clipping })
    }

    /// The rule.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// The names of what is remembered, and where it lies: each parameter at its
    /// [`Weights::slot`].
    pub fn moments(&self) -> impl Iterator<Item = (&'static str, &Buffer)> {
        self.rule.moments().iter().copied().zip(&self.moments)
    }

    /// As [`Optimizer::moments`], to be set.
    pub fn moments_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Buffer)> {
        self.rule.moments().iter().copied().zip(&mut self.moments)
    }

    /// The norm of all gradients of the last step, before clipping; `None` without clipping. Where it
    /// isn't finite, that step has changed nothing. Waits for the device.
    ///
    /// # Errors
    /// Those of the device.
    pub fn gradient_norm(&self) -> Result<Option<f64>> {
        let Some(clipping) = &self.clipping else { return Ok(None) };
        let mut result = GradNorm::default();
        let front = bytemuck::bytes_of_mut(&mut result);
        clipping.workspace.read(0, front)?;
        Ok(Some(result.norm))
    }

    /// One step, by what `state` says.
    pub(super) fn step(
        &mut self,
        device: &Device,
        weights: &mut Weights,
        state: &RunState,
        state_address: u64,
    ) -> Result<()> {
        weights.require_on(device)?;
        device.require_same(self.decays.device(), "the optimizer's moments")?;
        let gradients = weights.gradients().ok_or_else(|| {
            Error::usage("these weights have no gradients: they weren't made for training")
        })?;
        let bytes = weights.trained_bytes();
        if let Some((name, moment)) = self.moments().find(|(_, moment)| moment.bytes() != bytes) {
            let detail = format!("has {} bytes, {bytes} are needed", moment.bytes());
            return Err(Error::shape(name, detail));
        }
        let count = bytes / size_of::<f32>();
        let mut arenas = Arenas {
            values: weights.values().address(),
            gradients: gradients.address(),
            decays: self.decays.address(),
            count,
            ..Arenas::default()
        };
        for (address, moment) in arenas.moments.iter_mut().zip(&self.moments) {
            *address = moment.address();
        }
        if let Some(Clipping { max_norm, workspace }) = &self.clipping {
            let workspace = workspace.address();
            // SAFETY: two buffers of their own, alive and borrowed for this call; the workspace was
            // made for `count` gradients.
            unsafe { grad_norm::run(device, arenas.gradients, count, workspace, *max_norm)? };
            arenas.factor = workspace + grad_norm::FACTOR_OFFSET;
        }
        // SAFETY: buffers of their own, alive and borrowed for this call; values, gradients and
        // moments begin with `bytes` bytes of trained parameters, for which the decays were made.
        unsafe {
            match &self.rule {
                Rule::Sgd(options) => sgd::step(device, &arenas, state, state_address, options),
                Rule::AdamW(options) => adamw::step(device, &arenas, state, state_address, options),
            }
        }
    }
}
